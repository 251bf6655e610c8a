// The topic aliases of one connection towards its client: which topic stands behind which number. The topic that has not
// been sent for longest gives its number to the next new one, so that topics in use keep theirs. Numbers and the bytes of
// their topics are bounded: a long topic is sent whole. Invariant: a number is written down here only when the packet
// that gives it to the client is about to be sent; packets of a connection reach it in that order.

/** Longest topic that gets an alias, in bytes: what a connection keeps stays small. */
const TOPIC_BYTES_MAX = 1024;
/** A shorter topic costs less than its alias. */
const TOPIC_BYTES_MIN = 4;

export class TopicAliases {
  readonly #max: number;
  /** In the order of last use. */
  readonly #byTopic = new Map<string, number>();

  /** `max` is what both sides allow, 1 to 65,535 [MQTT5-3.1.2-26]. */
  constructor(max: number) {
    this.#max = max;
  }

  /** The number that the client knows for the topic, or 0. */
  find(topic: string): number {
    return this.#byTopic.get(topic) ?? 0;
  }

  /** The number that a topic without one is to be sent with, or 0 where it is to be sent whole. */
  next(topicBytes: number): number {
    if (topicBytes < TOPIC_BYTES_MIN || topicBytes > TOPIC_BYTES_MAX) return 0;
    if (this.#byTopic.size < this.#max) return this.#byTopic.size + 1;
    const [oldest] = this.#byTopic.values();
    return oldest as number;
  }

  /** The topic is sent with this number, which find or next answered. */
  use(topic: string, alias: number): void {
    if (!this.#byTopic.delete(topic) && this.#byTopic.size === this.#max) {
      const [oldest] = this.#byTopic.keys();
      this.#byTopic.delete(oldest as string);
    }
    this.#byTopic.set(topic, alias);
  }
}
