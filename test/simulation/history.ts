// What the devices of a run did and saw, in the order in which they did: the only thing that the model judges. Nothing
// of the broker is looked at here. `at` is a number that rises with each event, by which "before" is meant.

export interface Message {
  readonly id: string;
  readonly publisher: string;
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  /** An empty payload clears the topic; such a message cannot be told from others by its receivers. */
  readonly isEmpty: boolean;
  readonly expirySec: number;
  readonly isWill: boolean;
  /** Place among all messages of its publisher, from 1. */
  readonly order: number;
  /** The publisher's connection on which it was sent first. */
  connection: number;
  sentAt: number;
  sentMs: number;
  sends: number;
  /** PUBACK or PUBREC with success, 0 for none. */
  ackedAt: number;
  ackedMs: number;
  isRefused: boolean;
  /** Its publisher's session ended before the ack: it may come late, or never. */
  isGivenUp: boolean;
}

export interface Era {
  readonly device: string;
  readonly index: number;
  readonly isPersistent: boolean;
  readonly beganAt: number;
  readonly beganMs: number;
  /** Infinity while it goes on. */
  endedAt: number;
  readonly subscriptions: SubscriptionRecord[];
}

export interface SubscriptionRecord {
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  /** The filter was not subscribed to when this was sent, as the device knows. */
  readonly isNew: boolean;
  readonly sentAt: number;
  readonly sentMs: number;
  ackedAt: number;
  ackedMs: number;
  /** UNSUBSCRIBE, or a SUBSCRIBE of the same filter, was sent and answered; Infinity for not. */
  endSentAt: number;
  endAckedAt: number;
  endAckedMs: number;
  /** What ended it was another subscription to the same filter. */
  isReplaced: boolean;
}

export interface Delivery {
  readonly era: Era;
  readonly connection: number;
  readonly message: Message;
  readonly qos: 0 | 1 | 2;
  readonly isDup: boolean;
  readonly isRetained: boolean;
  readonly at: number;
  readonly ms: number;
}

/** One CONNECT that was sent. */
export interface Attempt {
  readonly device: string;
  readonly connection: number;
  readonly cleanStart: boolean;
  readonly expirySec: number;
  readonly will: Message | null;
  readonly willDelaySec: number;
  readonly sentMs: number;
  /** CONNACK with success, 0 for none. */
  connackMs: number;
  isPresent: boolean;
  /** As the device knows; 0 while it is open. */
  closedMs: number;
  /** DISCONNECT that drops the will was sent, and the node closed the connection. */
  isGoodbye: boolean;
  isGoodbyeHeard: boolean;
  /** The device went away without telling the node, which may believe it there for long. */
  isSilent: boolean;
}

export class History {
  readonly messages = new Map<string, Message>();
  readonly eras: Era[] = [];
  readonly deliveries: Delivery[] = [];
  readonly attempts: Attempt[] = [];
  /** What a device saw that no broker may do. */
  readonly breaches: string[] = [];
  #at = 0;
  #hash = 0;

  next(): number {
    return ++this.#at;
  }

  /** A number that differs where two histories differ, with high probability. */
  get hash(): number {
    return this.#hash;
  }

  note(text: string): void {
    let hash = this.#hash;
    for (let index = 0; index < text.length; index++) {
      hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0;
    }
    this.#hash = hash;
  }
}
