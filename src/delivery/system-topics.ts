// The $SYS topics as this node tells them: the values it computed last, for new subscriptions, and the delivery of those
// that changed to its own subscribers. Every node does this for its own clients, so nothing of it crosses the store.

import { buildBody } from '../mqtt/message.ts';
import { topicMatches } from '../mqtt/topic.ts';
import type { SysTopic } from '../observability/sys-tree.ts';
import type { Router } from '../routing/router.ts';
import { encodeRetained } from '../store/records.ts';
import type { RetainedPage } from '../store/store.ts';
import type { LocalDelivery } from './local.ts';

export class SystemTopics {
  readonly #router: Router;
  readonly #local: LocalDelivery;
  readonly #bodies = new Map<string, Buffer>();

  constructor(router: Router, local: LocalDelivery) {
    this.#router = router;
    this.#local = local;
  }

  /** Takes over changed values and delivers them at QoS 0, retained. */
  publish(changed: readonly SysTopic[]): void {
    for (const { topic, value } of changed) {
      const body = buildBody(topic, Buffer.from(value));
      this.#bodies.set(topic, body);
      const { local } = this.#router.match(topic);
      this.#local.deliver(local, {
        publisher: '',
        qos: 0,
        retain: true,
        topic,
        body,
        expiresAt: 0,
        ownExpiry: false,
      });
    }
  }

  /** Records of the values that a filter matches, as if they were retained. */
  matching(filter: string): RetainedPage['records'] {
    const records: { topic: string; record: Buffer }[] = [];
    for (const [topic, body] of this.#bodies) {
      if (!topicMatches(filter, topic)) continue;
      records.push({
        topic,
        record: encodeRetained({ qos: 0, expiresAt: 0, ownExpiry: false, publisher: '', body }),
      });
    }
    return records;
  }
}
