// SUBSCRIBE and UNSUBSCRIBE as requests under way: read strictly, judged filter by filter, answered by our own SUBACK or
// UNSUBACK when the session is done. What Aedes gets, and is asked leave for, has the same packet identifier and, for each
// filter that a limit has not refused already, its place in the packet instead: its own rules for filters (at most 100
// levels, maps keyed by them, the last of two equal ones only) are not ours, and a packet may hold more filters than it
// could take in reasonable time. Nothing is kept after the answer.

import { readVarint, varintSize } from '../mqtt/bytes.ts';
import { generatePacket } from '../mqtt/codec.ts';
import { type FilterList, NO_LOCAL, RETAIN_AS_PUBLISHED, readFilters } from '../mqtt/control-packet.ts';
import { PacketType, type QoS } from '../mqtt/packet-type.ts';
import { isFailure, ReasonCode } from '../mqtt/reason-code.ts';
import { reasonTextOf } from '../mqtt/reason-text.ts';
import { isSharedFilter, type TopicFault, type TopicLimits, validateTopicFilter } from '../mqtt/topic.ts';
import { Limit, type NodeStats } from '../observability/node-stats.ts';
import type { ProtocolVersion } from '../session/link.ts';
import type { Subscription } from '../store/records.ts';
import { SwarmqError } from '../util/errors.ts';
import type { ConnectionLimits, SessionPort } from './ports.ts';

function readList(type: number, version: ProtocolVersion, bytes: Buffer): FilterList {
  const bodyStart = 1 + varintSize(readVarint(bytes, 1, bytes.length));
  return readFilters(type, version, bytes, bodyStart, bytes.length);
}

function faultOf(filter: string, limits: ConnectionLimits, stats: NodeStats): TopicFault | null {
  const allowed: TopicLimits = { maxBytes: limits.maxTopicLengthBytes, maxLevels: limits.maxTopicLevels };
  const fault = validateTopicFilter(filter, allowed);
  if (fault === 'too-long') stats.limitRejections[Limit.TOPIC_LENGTH]++;
  if (fault === 'too-many-levels') stats.limitRejections[Limit.TOPIC_LEVELS]++;
  return fault;
}

/** What SUBSCRIBE and UNSUBSCRIBE have in common, in the order in which it happens. */
export interface ControlRequest {
  /** Judges every filter by the limits. The packet that Aedes gets, or null where nothing is left to be asked. */
  encodeForShell(session: SessionPort, limits: ConnectionLimits, stats: NodeStats): Buffer | null;
  /** Aedes has been asked for the filter at this place of the packet, and has nothing against it. */
  grant(place: number): void;
  /** Aedes has answered: the session does it. Rejects with a SwarmqError that ends the connection. */
  carryOut(session: SessionPort): Promise<void>;
  /** With a reason string where one of the codes is a refusal, if the client takes one. */
  encodeAnswer(wantsReasons: boolean): Buffer;
  /** The answer has left. */
  finish(session: SessionPort): void;
}

/** A SUBSCRIBE from its arrival to its SUBACK. */
export class SubscribeRequest implements ControlRequest {
  readonly #version: ProtocolVersion;
  readonly #isBridge: boolean;
  readonly #list: FilterList;
  /** One reason code per filter of the packet, in its order [MQTT-3.8.4-5], [MQTT-3.9.3-1]. */
  readonly #codes: number[] = [];
  readonly #granted: Subscription[] = [];

  /** Reads the packet `bytes`. Throws SWARMQ_ERR_PACKET_MALFORMED or SWARMQ_ERR_PACKET_PROTOCOL. */
  constructor(version: ProtocolVersion, isBridge: boolean, bytes: Buffer) {
    this.#version = version;
    this.#isBridge = isBridge;
    this.#list = readList(PacketType.SUBSCRIBE, version, bytes);
  }

  encodeForShell(session: SessionPort, limits: ConnectionLimits, stats: NodeStats): Buffer | null {
    // By filter, the place that counts: of two equal ones in a packet the later.
    const places = new Map<string, number>();
    let room = limits.maxSubscriptionsPerSession - session.subscriptionCount();
    this.#list.filters.forEach((filter, place) => {
      const isNew = !places.has(filter) && !session.has(filter);
      const refusal = refusalOf(filter, isNew, room, session, limits, stats);
      this.#codes.push(refusal === 0 ? this.#list.options[place] & 3 : refusal);
      if (refusal !== 0) {
        stats.subscribesDenied++;
        return;
      }
      stats.subscribesAllowed++;
      if (isNew) room--;
      places.set(filter, place);
    });
    if (places.size === 0) return null;
    const subscriptions = [...places.values()].map((place) => ({ topic: String(place), qos: 0 as const }));
    return generatePacket({ cmd: 'subscribe', messageId: this.#list.packetId, subscriptions }, this.#version);
  }

  grant(place: number): void {
    const { filters, options, subscriptionId } = this.#list;
    const filter = filters[place];
    const bits = options[place];
    this.#granted.push({
      filter,
      qos: (bits & 3) as QoS,
      // A bridge of 3.1 or 3.1.1 gets what MQTT 5 clients ask for by options: no loops, retained flags kept.
      // In a group nobody can be left out [MQTT5-3.8.3-4].
      noLocal: (this.#isBridge || (bits & NO_LOCAL) !== 0) && !isSharedFilter(filter),
      retainAsPublished: this.#isBridge || (bits & RETAIN_AS_PUBLISHED) !== 0,
      retainHandling: ((bits >> 4) & 3) as 0 | 1 | 2,
      subscriptionId,
    });
  }

  async carryOut(session: SessionPort): Promise<void> {
    if (this.#granted.length === 0) return;
    try {
      await session.subscribe(this.#granted);
    } catch (error) {
      if (!(error instanceof SwarmqError) || endsConnection(error)) throw error;
      const reasonCode = error.reasonCode ?? ReasonCode.UNSPECIFIED_ERROR;
      this.#codes.forEach((code, place) => {
        if (code < ReasonCode.UNSPECIFIED_ERROR) this.#codes[place] = reasonCode;
      });
      this.#granted.length = 0;
    }
  }

  /** SUBACK. Before MQTT 5 there is one code for every refusal, 0x80 [MQTT-3.9.3-2]. */
  encodeAnswer(wantsReasons: boolean): Buffer {
    const isFive = this.#version === 5;
    const granted = this.#codes.map((code) => (isFive ? code : Math.min(code, ReasonCode.UNSPECIFIED_ERROR)));
    const properties = wantsReasons ? reasonsOf(granted) : undefined;
    return generatePacket(
      { cmd: 'suback', messageId: this.#list.packetId, granted, properties },
      this.#version,
    );
  }

  finish(session: SessionPort): void {
    if (this.#granted.length > 0) session.readRetained();
  }
}

/** The reason code of a refusal, or 0. `room` is for filters that the session does not have yet. */
function refusalOf(
  filter: string,
  isNew: boolean,
  room: number,
  session: SessionPort,
  limits: ConnectionLimits,
  stats: NodeStats,
): number {
  if (faultOf(filter, limits, stats) !== null) return ReasonCode.TOPIC_FILTER_INVALID;
  if (!isNew) return 0;
  if (room <= 0) {
    stats.limitRejections[Limit.SUBSCRIPTIONS_PER_SESSION]++;
    return ReasonCode.QUOTA_EXCEEDED;
  }
  if (isSharedFilter(filter) && session.groupSize(filter) >= limits.maxGroupMembers) {
    stats.limitRejections[Limit.GROUP_MEMBERS]++;
    return ReasonCode.QUOTA_EXCEEDED;
  }
  return 0;
}

/** The reason string of an answer with these codes: that of the first refusal. */
function reasonsOf(codes: readonly number[]): { reasonString: string } | undefined {
  const refusal = codes.find(isFailure);
  return refusal === undefined ? undefined : { reasonString: reasonTextOf(refusal) };
}

/**
 * The session is not ours any more, there is no store to ask, or the store has refused what the session now believes to
 * have: the next connection reads what stands.
 */
function endsConnection({ code }: SwarmqError): boolean {
  return (
    code === 'SWARMQ_ERR_SESSION_FENCED' ||
    code === 'SWARMQ_ERR_STORE_CLOSED' ||
    code === 'SWARMQ_ERR_STORE_REPLY'
  );
}

/** An UNSUBSCRIBE from its arrival to its UNSUBACK. */
export class UnsubscribeRequest implements ControlRequest {
  readonly #packetId: number;
  readonly #version: ProtocolVersion;
  readonly #requested: readonly string[];
  readonly #invalid = new Set<string>();
  /** Filters that the session had. */
  readonly #existed = new Set<string>();

  /** Throws as SubscribeRequest does. */
  constructor(version: ProtocolVersion, bytes: Buffer, limits: ConnectionLimits, stats: NodeStats) {
    const { packetId, filters } = readList(PacketType.UNSUBSCRIBE, version, bytes);
    this.#version = version;
    this.#packetId = packetId;
    this.#requested = filters;
    for (const filter of filters) {
      if (faultOf(filter, limits, stats) !== null) this.#invalid.add(filter);
    }
  }

  /** Nobody needs leave to unsubscribe: one filter stands for all. */
  encodeForShell(): Buffer {
    return generatePacket(
      { cmd: 'unsubscribe', messageId: this.#packetId, unsubscriptions: ['0'] },
      this.#version,
    );
  }

  grant(): void {}

  async carryOut(session: SessionPort): Promise<void> {
    for (const filter of this.#requested) if (session.has(filter)) this.#existed.add(filter);
    if (this.#existed.size > 0) await session.unsubscribe([...this.#existed]);
  }

  /** UNSUBACK. A filter that stands twice in the packet existed once [MQTT5-3.11.3-1]. */
  encodeAnswer(wantsReasons: boolean): Buffer {
    const left = new Set(this.#existed);
    const granted = this.#requested.map((filter) => {
      if (this.#invalid.has(filter)) return ReasonCode.TOPIC_FILTER_INVALID;
      return left.delete(filter) ? ReasonCode.SUCCESS : ReasonCode.NO_SUBSCRIPTION_EXISTED;
    });
    const properties = wantsReasons ? reasonsOf(granted) : undefined;
    return generatePacket({ cmd: 'unsuback', messageId: this.#packetId, granted, properties }, this.#version);
  }

  finish(): void {}
}
