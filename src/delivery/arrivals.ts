// What other nodes send for live receivers here: matched once more, against this node's own subscriptions, and delivered
// unless its mark says that it has been. Sending QoS 0 messages the other way stands here too: they skip the commit.

import type { LiveMessage } from '../cluster/inbox-codec.ts';
import type { Peers } from '../cluster/peers.ts';
import { BodyView } from '../mqtt/message.ts';
import type { PublishReader } from '../mqtt/publish.ts';
import type { NodeStats } from '../observability/node-stats.ts';
import type { Match, Router } from '../routing/router.ts';
import type { Store } from '../store/store.ts';
import type { GroupFanOut } from './group-fan-out.ts';
import type { LocalDelivery } from './local.ts';
import type { NodeMarks } from './marks.ts';

export interface ArrivalsOptions {
  readonly router: Router;
  readonly local: LocalDelivery;
  readonly marks: NodeMarks;
  readonly stats: NodeStats;
}

const view = new BodyView();

export class Arrivals {
  readonly #options: ArrivalsOptions;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  /** A message from another node. `message.body` may be a slice of a larger buffer that lives on. */
  receive(message: LiveMessage): void {
    const { router, local, marks, stats } = this.#options;
    const topic = view.read(message.body).topic(message.body);
    const match = router.match(topic);
    if (match.local.length === 0) return;
    if (message.mark !== null && !marks.take(message.mark)) {
      stats.messagesRepeated++;
      return;
    }
    const parts = { ...message, topic };
    if (message.copy) local.deliverCopy(match.local, parts);
    else local.deliver(match.local, parts);
  }
}

/** Sends a QoS 0 message to the nodes and groups that have receivers for it; dropped where too much waits for a node. */
export function sendToNodes(
  peers: Peers,
  groups: GroupFanOut,
  store: Store,
  match: Match,
  reader: PublishReader,
  topic: string,
  publisher: string,
  body: Buffer,
): void {
  const ownExpiry = reader.messageExpirySec >= 0;
  const message: LiveMessage = {
    publisher,
    qos: 0,
    retain: reader.retain,
    expiresAt: ownExpiry ? Math.floor(store.nowMs()) + reader.messageExpirySec * 1000 : 0,
    ownExpiry,
    mark: null,
    copy: false,
    body,
  };
  for (const incarnation of match.nodesAll) peers.live(incarnation, message, null);
  for (const incarnation of match.nodesQos0) peers.live(incarnation, message, null);
  if (match.groups.length > 0) groups.live(match.groups, topic, message);
}
