// A history read once and laid out for the rules: messages, the CONNECTs of each client, the sessions ("eras") that they
// began and went on with, what was subscribed to and delivered in each, and the faults. "Before" means the place in the
// history, a number from 1; times in milliseconds serve only where a rule speaks of how long.

import { parseSharedFilter, topicMatches } from '../../src/mqtt/topic.ts';
import type {
  ConnectEvent,
  DeliverEvent,
  FaultEvent,
  History,
  HistoryEvent,
  PublishEvent,
  Qos,
  SubscribeEvent,
  WillTold,
} from './history.ts';

export interface Message {
  readonly id: number;
  readonly publisher: string;
  readonly topic: string;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly isEmpty: boolean;
  readonly expirySec: number;
  readonly isWill: boolean;
  /** One number for each publisher, topic and QoS. */
  readonly line: number;
  readonly connection: number;
  readonly sentAt: number;
  readonly sentMs: number;
  sends: number;
  /** Accepted with PUBACK or PUBREC; Infinity for not. */
  ackedAt: number;
  ackedMs: number;
  isRefused: boolean;
  isGivenUp: boolean;
}

export interface Subscription {
  /** As it was asked for: of a membership, with its group. */
  readonly filter: string;
  /** What topics have to match. */
  readonly topics: string;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  /** The filter was not subscribed to when this was sent. */
  readonly isNew: boolean;
  readonly sentAt: number;
  readonly sentMs: number;
  /** Infinity for not answered, or refused. */
  ackedAt: number;
  ackedMs: number;
  /** UNSUBSCRIBE, or a SUBSCRIBE of the same filter, was sent and answered; Infinity for not. */
  endSentAt: number;
  endSentMs: number;
  endAckedAt: number;
  endAckedMs: number;
  /** The SUBSCRIBE that took its place. */
  next: Subscription | null;
}

export interface Delivery {
  readonly message: Message;
  readonly connection: number;
  readonly qos: Qos;
  readonly isRetained: boolean;
  readonly isDup: boolean;
  /** It may have come by a subscription of the session's own or by one of its groups. */
  readonly isOpen: boolean;
  readonly at: number;
  readonly ms: number;
}

/** One CONNECT. */
export interface Attempt {
  readonly connection: number;
  readonly port: number;
  readonly version: 3 | 4 | 5;
  readonly clean: boolean;
  readonly expirySec: number;
  readonly will: WillTold | null;
  readonly sentAt: number;
  readonly sentMs: number;
  /** CONNACK with success; Infinity for none. */
  connackAt: number;
  connackMs: number;
  isPresent: boolean;
  /** When its client took it for over; Infinity while it is open. */
  endMs: number;
  /** Its client walked away from it. */
  isLeft: boolean;
  /** When it was closed in fact; Infinity for not. */
  closedMs: number;
  isClosedByBroker: boolean;
  /** Reason code of the client's DISCONNECT. */
  goodbye: number | null;
  /** Times of what came on it after its client had walked away. */
  lateMs: number[];
  era: Era | null;
}

/** One existence of a session, as its client can tell. */
export interface Era {
  readonly client: string;
  readonly isPersistent: boolean;
  readonly began: Attempt;
  /** Something that was never answered may have ended it, or begun it: its subscriptions may not be there. */
  isDoubtful: boolean;
  /** The last connection of it. */
  last: Attempt;
  /** Where the next session of the client may have begun; Infinity for none. */
  endAt: number;
  readonly subscriptions: Subscription[];
  /** Shared subscriptions, which are no subscriptions of its own. */
  readonly memberships: Subscription[];
  readonly deliveries: Delivery[];
  /** What can only have come by a membership. */
  readonly shared: Delivery[];
  /** The run came to rest, and it was drained. */
  isAtRest: boolean;
}

export interface Client {
  readonly name: string;
  readonly attempts: Attempt[];
  readonly eras: Era[];
}

export interface Fault {
  readonly what: string;
  readonly scope: FaultEvent['scope'];
  readonly port: number | null;
  readonly fromMs: number;
  /** Infinity where its end was not told. */
  toMs: number;
}

export interface Loss {
  readonly fromMs: number;
  readonly atMs: number;
}

export interface Reading {
  readonly messages: ReadonlyMap<number, Message>;
  readonly byTopic: ReadonlyMap<string, Message[]>;
  readonly clients: ReadonlyMap<string, Client>;
  /** Deliveries of ids that nobody had sent, or on another topic. */
  readonly unknown: readonly DeliverEvent[];
  readonly faults: readonly Fault[];
  readonly losses: readonly Loss[];
  /** When a tail was lost the last time; -Infinity for never. */
  readonly lastLossMs: number;
  readonly endMs: number;
}

/** How long a CONNECT without an answer may lie in a buffer and be carried out after later ones. */
export const LATE_CONNECT_MS = 30_000;
/** A session ends by the store's clock, which began to count somewhat before its client saw the end. */
const EXPIRY_SLACK_MS = 1000;

class Reader {
  readonly messages = new Map<number, Message>();
  readonly byTopic = new Map<string, Message[]>();
  readonly clients = new Map<string, Client>();
  readonly unknown: DeliverEvent[] = [];
  readonly faults: Fault[] = [];
  readonly losses: Loss[] = [];
  lastLossMs = -Infinity;
  endMs = 0;
  readonly #lines = new Map<string, number>();
  readonly #pending = new Map<string, Subscription[]>();
  #at = 0;

  read(event: HistoryEvent): void {
    this.#at++;
    this.endMs = Math.max(this.endMs, event.at);
    switch (event.kind) {
      case 'publish':
        this.#addMessage(event, false);
        break;
      case 'deliver':
        this.#readDeliver(event);
        break;
      case 'resent':
        this.messages.get(event.id)!.sends++;
        break;
      case 'acked':
        this.#readAcked(this.messages.get(event.id)!, event.reason, event.at);
        break;
      case 'gaveup':
        this.messages.get(event.id)!.isGivenUp = true;
        break;
      case 'connect':
        this.#readConnect(event);
        break;
      case 'subscribe':
        this.#readSubscribe(event);
        break;
      case 'fault':
        this.#readFault(event);
        break;
      default:
        this.#readOfConnection(event, this.clients.get(event.client)!);
    }
  }

  #addMessage(event: Omit<PublishEvent, 'kind'>, isWill: boolean): void {
    const { id, client, connection, topic, qos, retain, isEmpty, expirySec, at } = event;
    const name = `${client} ${qos} ${topic}`;
    let line = this.#lines.get(name);
    if (line === undefined) {
      line = this.#lines.size;
      this.#lines.set(name, line);
    }
    const message: Message = {
      id,
      publisher: client,
      topic,
      qos,
      retain,
      isEmpty,
      expirySec,
      isWill,
      line,
      connection,
      sentAt: this.#at,
      sentMs: at,
      sends: 1,
      ackedAt: Infinity,
      ackedMs: Infinity,
      isRefused: false,
      isGivenUp: false,
    };
    this.messages.set(id, message);
    const list = this.byTopic.get(topic);
    if (list) list.push(message);
    else this.byTopic.set(topic, [message]);
  }

  #readAcked(message: Message, reason: number, ms: number): void {
    if (reason >= 0x80) message.isRefused = true;
    else if (message.ackedAt === Infinity) {
      message.ackedAt = this.#at;
      message.ackedMs = ms;
    }
  }

  #readConnect(event: ConnectEvent): void {
    const { client: name, connection, port, version, clean, expirySec, will, at } = event;
    const client = this.clients.get(name) ?? { name, attempts: [], eras: [] };
    this.clients.set(name, client);
    client.attempts[connection] = {
      ...{ connection, port, version, clean, expirySec, will, sentAt: this.#at, sentMs: at },
      ...{ connackAt: Infinity, connackMs: Infinity, isPresent: false, endMs: Infinity, isLeft: false },
      ...{ closedMs: Infinity, isClosedByBroker: false, goodbye: null, lateMs: [], era: null },
    };
    if (will) this.#addMessage({ ...will, client: name, connection, isEmpty: false, expirySec: 0, at }, true);
  }

  #readOfConnection(
    event: Exclude<
      HistoryEvent,
      { kind: 'publish' | 'deliver' | 'resent' | 'acked' | 'gaveup' | 'connect' | 'subscribe' | 'fault' }
    >,
    client: Client,
  ): void {
    const attempt = client.attempts[event.connection]!;
    switch (event.kind) {
      case 'connack':
        if (event.reason === 0) this.#readConnack(client, attempt, event.sessionPresent, event.at);
        break;
      case 'suback':
        this.#readSuback(`${client.name} ${event.number}`, event.reason, event.at);
        break;
      case 'unsubscribe': {
        const ended = standing(listOf(attempt.era!, event.filter), event.filter);
        for (const one of ended) this.#endSubscription(one, event.at);
        this.#pending.set(`${client.name} ${event.number}`, ended);
        break;
      }
      case 'unsuback':
        this.#readEndAcked(`${client.name} ${event.number}`, event.at);
        break;
      case 'disconnect':
        attempt.goodbye = event.reason;
        break;
      case 'closed':
        attempt.endMs = Math.min(attempt.endMs, event.at);
        attempt.isLeft ||= event.by === 'left';
        if (event.by !== 'left') attempt.closedMs = event.at;
        attempt.isClosedByBroker ||= event.by === 'broker';
        break;
      case 'rest':
        if (attempt.era) attempt.era.isAtRest = true;
    }
  }

  #readConnack(client: Client, attempt: Attempt, isPresent: boolean, ms: number): void {
    attempt.connackAt = this.#at;
    attempt.connackMs = ms;
    attempt.isPresent = isPresent;
    const before = client.eras.at(-1);
    // Clean starts that were never answered: carried out before this one, or maybe after it.
    const hasExpired = before && ms > before.last.endMs + before.last.expirySec * 1000 - EXPIRY_SLACK_MS;
    // Nor is anybody told of the new session that another one of them may have begun behind an expiry.
    const hasDoubt = client.attempts.some(
      (one) =>
        (one.clean || hasExpired) &&
        one.connackAt === Infinity &&
        one.sentMs > ms - LATE_CONNECT_MS &&
        one !== attempt,
    );
    if (isPresent && before) {
      before.isDoubtful ||= hasDoubt;
      before.last = attempt;
      before.isAtRest = false;
      attempt.era = before;
      return;
    }
    const isPersistent = attempt.expirySec > 0;
    if (before) before.endAt = attempt.sentAt;
    attempt.era = {
      ...{ client: client.name, isPersistent, began: attempt, isDoubtful: hasDoubt || isPresent },
      ...{ last: attempt, endAt: Infinity, isAtRest: false },
      ...{ subscriptions: [], memberships: [], deliveries: [], shared: [] },
    };
    client.eras.push(attempt.era);
  }

  #readSubscribe(event: SubscribeEvent): void {
    const { client, connection, number, filter, qos, noLocal, retainAsPublished, retainHandling, at } = event;
    const list = listOf(this.clients.get(client)!.attempts[connection]!.era!, filter);
    const replaced = standing(list, filter);
    const topics = parseSharedFilter(filter)?.filter ?? filter;
    const subscription: Subscription = {
      ...{ filter, topics, qos, noLocal, retainAsPublished, retainHandling, isNew: replaced.length === 0 },
      ...{ sentAt: this.#at, sentMs: at, ackedAt: Infinity, ackedMs: Infinity, next: null },
      ...{ endSentAt: Infinity, endSentMs: Infinity, endAckedAt: Infinity, endAckedMs: Infinity },
    };
    for (const one of replaced) {
      this.#endSubscription(one, at);
      one.next = subscription;
    }
    list.push(subscription);
    this.#pending.set(`${client} ${number}`, [...replaced, subscription]);
  }

  #endSubscription(one: Subscription, ms: number): void {
    one.endSentAt = this.#at;
    one.endSentMs = ms;
  }

  #readSuback(key: string, reason: number, ms: number): void {
    const subscription = this.#pending.get(key)!.pop()!;
    if (reason < 0x80) {
      subscription.ackedAt = this.#at;
      subscription.ackedMs = ms;
      this.#readEndAcked(key, ms);
    }
  }

  #readEndAcked(key: string, ms: number): void {
    for (const one of this.#pending.get(key)!) {
      one.endAckedAt = this.#at;
      one.endAckedMs = ms;
    }
    this.#pending.delete(key);
  }

  #readDeliver(event: DeliverEvent): void {
    if (event.id === 0) return;
    const message = this.messages.get(event.id);
    const attempt = this.clients.get(event.client)!.attempts[event.connection]!;
    if (attempt.isLeft) attempt.lateMs.push(event.at);
    // What comes before CONNACK belongs to no session: nobody can have sent it to one.
    else if (!message || message.topic !== event.topic || attempt.era === null) this.unknown.push(event);
    else {
      const { era } = attempt;
      const isFromGroup = isAmong(era.memberships, message, era.client);
      const isOpen = isFromGroup && isAmong(era.subscriptions, message, era.client);
      (isFromGroup && !isOpen ? era.shared : era.deliveries).push({
        message,
        connection: event.connection,
        qos: event.qos,
        isRetained: event.retain,
        isDup: event.dup,
        isOpen,
        at: this.#at,
        ms: event.at,
      });
    }
  }

  #readFault({ what, phase, scope, port, at, lossFrom }: FaultEvent): void {
    if (lossFrom !== null) {
      this.losses.push({ fromMs: lossFrom, atMs: at });
      this.lastLossMs = Math.max(this.lastLossMs, at + UNDER_WAY_MS);
    }
    const open = this.faults.findLast((one) => one.what === what && one.toMs === Infinity);
    if (phase === 'end') {
      if (open) open.toMs = at;
    } else this.faults.push({ what, scope, port, fromMs: at, toMs: phase === 'moment' ? at : Infinity });
  }
}

const listOf = ({ memberships, subscriptions }: Era, filter: string): Subscription[] =>
  parseSharedFilter(filter) === null ? subscriptions : memberships;

const standing = (list: readonly Subscription[], filter: string): Subscription[] =>
  list.filter((one) => one.filter === filter && one.endSentAt === Infinity);

const isAmong = (list: readonly Subscription[], message: Message, client: string): boolean =>
  list.some((one) => isFor(one, message, client));

/** Lays a history out. */
export function readHistory(history: History): Reading {
  const reader = new Reader();
  for (const event of history) reader.read(event);
  for (const { attempts, eras } of reader.clients.values()) {
    for (const era of eras) {
      // Only the last one can rest, on a connection that is still open.
      era.isAtRest &&= era === eras.at(-1) && era.last === attempts.at(-1) && era.last.endMs === Infinity;
    }
  }
  return reader;
}

/** The messages of a list in the order of sending that were sent between the two places. */
export function* sentBetween(
  messages: readonly Message[],
  fromAt: number,
  toAt: number,
): IterableIterator<Message> {
  let low = 0;
  for (let high = messages.length; low < high; ) {
    const middle = (low + high) >> 1;
    if (messages[middle]!.sentAt < fromAt) low = middle + 1;
    else high = middle;
  }
  for (let index = low; index < messages.length && messages[index]!.sentAt < toAt; index++) {
    yield messages[index]!;
  }
}

/** Whether a subscription asks for a message of that publisher. */
export function isFor(one: Subscription, { topic, publisher }: Message, client: string): boolean {
  return !(one.noLocal && publisher === client) && topicMatches(one.topics, topic);
}

/** What fell between the two times, with so much more on both sides. */
export function faultsBetween(
  { faults }: Reading,
  fromMs: number,
  toMs: number,
  of: { scopes?: readonly Fault['scope'][]; port?: number } = {},
): Fault[] {
  return faults.filter(
    (fault) =>
      fault.fromMs <= toMs &&
      fault.toMs >= fromMs &&
      (of.scopes?.includes(fault.scope) ?? true) &&
      (of.port === undefined || fault.port === null || fault.port === of.port),
  );
}

/** An answer that left before a loss may arrive so long after it. */
const UNDER_WAY_MS = 250;

/** What happened at `ms` is certain: no tail that was lost had it. */
export function isCertain({ losses }: Reading, ms: number): boolean {
  return losses.every((loss) => ms < loss.fromMs || ms > loss.atMs + UNDER_WAY_MS);
}
