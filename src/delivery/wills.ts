// Publishes taken wills, by the ordinary way and exactly once: the mark (client id, "will") with the mid given when it was
// taken keeps a second publisher, after the first one's death, from reaching anybody twice. Whoever took it lies in the
// store's index until finishWill.

import { BodyView } from '../mqtt/message.ts';
import { NO_EXPIRY } from '../mqtt/publish.ts';
import type { NodeStats } from '../observability/node-stats.ts';
import type { Match } from '../routing/router.ts';
import { markKey } from '../store/records.ts';
import type { Store, TakenWill } from '../store/store.ts';
import { stopPoint } from '../util/stop-point.ts';
import { Commit, Line, type LineOwner } from './commit.ts';
import type { FanOut } from './fan-out.ts';
import type { Gate } from './gate.ts';
import type { InboxFence } from './inbox-fence.ts';
import type { LocalDelivery } from './local.ts';
import type { NodeMarks } from './marks.ts';

export interface WillsOptions {
  readonly store: Store;
  readonly fanOut: FanOut;
  readonly gate: Gate;
  readonly fence: InboxFence;
  readonly local: LocalDelivery;
  readonly marks: NodeMarks;
  readonly stats: NodeStats;
}

const view = new BodyView();

export class Wills {
  readonly #options: WillsOptions;

  constructor(options: WillsOptions) {
    this.#options = options;
  }

  /** Resolves when the will is committed for every receiver; then the caller finishes it in the store. */
  publish(taken: TakenWill): Promise<void> {
    stopPoint('will/taken');
    return new Promise((resolve) => {
      const { fanOut, gate, fence, store, stats } = this.#options;
      const { will, clientId } = taken;
      const expirySec = view.read(will.body).expirySec(will.body);
      const hasExpiry = expirySec !== NO_EXPIRY;
      const expiresAt = hasExpiry ? Math.floor(store.nowMs()) + expirySec * 1000 : 0;
      const line = new Line(fanOut, gate, new WillOwner(this.#options, resolve), fence);
      const topic = view.topic(will.body);
      const commit = new Commit(
        line,
        clientId,
        topic,
        will.body,
        will.qos,
        will.retain,
        expiresAt,
        hasExpiry,
        0,
      );
      commit.mark = { key: markKey(clientId, 'will'), mid: taken.mid };
      stats.willsPublished++;
      if (will.qos > 0) fanOut.prepare(commit);
      line.push(commit);
    });
  }
}

class WillOwner implements LineOwner {
  readonly #options: WillsOptions;
  readonly #published: () => void;

  constructor(options: WillsOptions, published: () => void) {
    this.#options = options;
    this.#published = published;
  }

  release(commit: Commit): void {
    const { local, marks, stats } = this.#options;
    const match = commit.match as Match;
    if (match.local.length > 0) {
      if (marks.take(commit.mark as NonNullable<Commit['mark']>)) local.deliver(match.local, commit);
      else stats.messagesRepeated++;
    }
    stopPoint('will/published');
    this.#published();
  }
}
