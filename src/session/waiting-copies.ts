// Retained copies between their making and their sending, which may take long: they wait for the client's acks, in its
// queue or in the live window, and a newer message of the topic at QoS 0 passes them by. Such a copy is old and is not sent.
// The very message that came at QoS 0 may follow as a copy, since a subscription at QoS 1 is owed it at QoS 1. A copy that
// another node made is not known here. There are as many as one page of a reading and what waited before it.

import { createHash } from 'node:crypto';

/** By this, bodies are told apart. */
export const digestOf = (body: Buffer): string => createHash('sha1').update(body).digest('base64');

export class WaitingCopy {
  readonly topic: string;
  readonly digest: string;
  readonly #copies: WaitingCopies;
  isOld = false;

  constructor(copies: WaitingCopies, topic: string, digest: string) {
    this.#copies = copies;
    this.topic = topic;
    this.digest = digest;
  }

  /** It is sent, or dropped. */
  leave(): void {
    this.#copies.remove(this);
  }
}

export class WaitingCopies {
  readonly #byTopic = new Map<string, WaitingCopy[]>();
  /** Those in the queue. */
  readonly #bySeq = new Map<number, WaitingCopy>();

  get isEmpty(): boolean {
    return this.#byTopic.size === 0;
  }

  add(topic: string, body: Buffer): WaitingCopy {
    const copy = new WaitingCopy(this, topic, digestOf(body));
    const others = this.#byTopic.get(topic);
    if (others === undefined) this.#byTopic.set(topic, [copy]);
    else others.push(copy);
    return copy;
  }

  /** The queue has it under `seq`, 0 where it was not taken. */
  place(copy: WaitingCopy, seq: number): void {
    if (seq === 0) copy.leave();
    else this.#bySeq.set(seq, copy);
  }

  /** A message has been given at QoS 0. */
  overtake(topic: string, digest: string): void {
    for (const copy of this.#byTopic.get(topic) ?? []) copy.isOld ||= copy.digest !== digest;
  }

  /** The entry `seq` of the queue is about to leave; answers whether it is an old copy. */
  leaveQueue(seq: number): boolean {
    const copy = this.#bySeq.get(seq);
    if (copy === undefined) return false;
    this.#bySeq.delete(seq);
    copy.leave();
    return copy.isOld;
  }

  /** Lets go of what left the queue by `seq` without being asked about. */
  forgetUpTo(seq: number): void {
    for (const [one, copy] of this.#bySeq) {
      if (one > seq) continue;
      this.#bySeq.delete(one);
      copy.leave();
    }
  }

  remove(copy: WaitingCopy): void {
    const others = this.#byTopic.get(copy.topic) ?? [];
    const left = others.filter((one) => one !== copy);
    if (left.length > 0) this.#byTopic.set(copy.topic, left);
    else this.#byTopic.delete(copy.topic);
  }
}
