// SUBSCRIBE and UNSUBSCRIBE as requests under way: read strictly, judged filter by filter when Aedes asks, answered by
// our own SUBACK or UNSUBACK when the session is done. What Aedes gets has the same packet identifier and, for each
// filter, its place in the packet instead: its own rules for filters (at most 100 levels, maps keyed by them, the last
// of two equal ones only) are not ours. Nothing is kept after the answer.

import { type ControlPacket, generatePacket, parseClientPacket } from '../mqtt/codec.ts';
import { isFailure, ReasonCode } from '../mqtt/reason-code.ts';
import { reasonTextOf } from '../mqtt/reason-text.ts';
import { isSharedFilter, type TopicFault, type TopicLimits, validateTopicFilter } from '../mqtt/topic.ts';
import { Limit, type NodeStats } from '../observability/node-stats.ts';
import type { ProtocolVersion } from '../session/link.ts';
import type { Subscription } from '../store/records.ts';
import { assert } from '../util/assert.ts';
import { SwarmqError } from '../util/errors.ts';
import type { ConnectionLimits, SessionPort } from './ports.ts';

type Packet<C extends string> = Extract<ControlPacket, { cmd: C }>;

function parse<C extends 'subscribe' | 'unsubscribe'>(
  version: ProtocolVersion,
  bytes: Buffer,
  cmd: C,
): Packet<C> {
  const packet = parseClientPacket(version, bytes);
  assert(packet.cmd === cmd, 'the parser agrees with the framer on the packet type');
  return packet as Packet<C>;
}

/** One packet may not ask for more than a session may hold: what it costs is paid in one go. */
function checkCount(count: number, limits: ConnectionLimits, stats: NodeStats): void {
  if (count <= limits.maxSubscriptionsPerSession) return;
  stats.limitRejections[Limit.SUBSCRIPTIONS_PER_SESSION]++;
  throw new SwarmqError('SWARMQ_ERR_PACKET_PROTOCOL', `${count} filters in one packet`, {
    reasonCode: ReasonCode.QUOTA_EXCEEDED,
  });
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
  /** The packet that Aedes gets. */
  encodeForShell(): Buffer;
  /** Aedes asks for the filter at this place of the packet. */
  judge(place: number, session: SessionPort, limits: ConnectionLimits, stats: NodeStats): void;
  /** Aedes has answered: the session does it. Rejects with a SwarmqError that ends the connection. */
  carryOut(session: SessionPort): Promise<void>;
  /** With a reason string where one of the codes is a refusal, if the client takes one. */
  encodeAnswer(wantsReasons: boolean): Buffer;
  /** The answer has left. */
  finish(session: SessionPort): void;
}

/** A SUBSCRIBE from its arrival to its SUBACK. */
export class SubscribeRequest implements ControlRequest {
  readonly #packetId: number;
  readonly #version: ProtocolVersion;
  readonly #requested: readonly Subscription[];
  /** One reason code per filter of the packet, in its order [MQTT-3.8.4-5], [MQTT-3.9.3-1]. */
  readonly #codes: number[] = [];
  /** By filter: of two equal ones in a packet the later counts. */
  readonly #granted = new Map<string, Subscription>();
  /** How many of them the session does not have yet. */
  #added = 0;

  /**
   * Reads the packet `bytes`. Throws SWARMQ_ERR_PACKET_MALFORMED or SWARMQ_ERR_PACKET_PROTOCOL, 0x97 where it has more
   * filters than a session may have.
   */
  constructor(
    version: ProtocolVersion,
    isBridge: boolean,
    bytes: Buffer,
    limits: ConnectionLimits,
    stats: NodeStats,
  ) {
    const packet = parse(version, bytes, 'subscribe');
    checkCount(packet.subscriptions.length, limits, stats);
    const subscriptionId = Number(packet.properties?.subscriptionIdentifier ?? 0);
    this.#version = version;
    this.#packetId = packet.messageId as number;
    this.#requested = packet.subscriptions.map((one) => ({
      filter: one.topic,
      qos: one.qos,
      // A bridge of 3.1 or 3.1.1 gets what MQTT 5 clients ask for by options: no loops, retained flags kept.
      // In a group nobody can be left out [MQTT5-3.8.3-4].
      noLocal: (isBridge || one.nl === true) && !isSharedFilter(one.topic),
      retainAsPublished: isBridge || one.rap === true,
      retainHandling: (one.rh ?? 0) as 0 | 1 | 2,
      subscriptionId,
    }));
  }

  encodeForShell(): Buffer {
    const subscriptions = this.#requested.map((_one, place) => ({ topic: String(place), qos: 0 as const }));
    return generatePacket({ cmd: 'subscribe', messageId: this.#packetId, subscriptions }, this.#version);
  }

  judge(place: number, session: SessionPort, limits: ConnectionLimits, stats: NodeStats): void {
    const one = this.#requested[place];
    const refusal = this.#refusalOf(one.filter, session, limits, stats);
    this.#codes[place] = refusal === 0 ? one.qos : refusal;
    if (refusal !== 0) {
      stats.subscribesDenied++;
      return;
    }
    stats.subscribesAllowed++;
    if (!this.#granted.has(one.filter) && !session.has(one.filter)) this.#added++;
    this.#granted.set(one.filter, one);
  }

  /** The reason code of a refusal, or 0. */
  #refusalOf(filter: string, session: SessionPort, limits: ConnectionLimits, stats: NodeStats): number {
    if (faultOf(filter, limits, stats) !== null) return ReasonCode.TOPIC_FILTER_INVALID;
    const isNew = !session.has(filter) && !this.#granted.has(filter);
    if (isNew && session.subscriptionCount() + this.#added >= limits.maxSubscriptionsPerSession) {
      stats.limitRejections[Limit.SUBSCRIPTIONS_PER_SESSION]++;
      return ReasonCode.QUOTA_EXCEEDED;
    }
    if (isNew && isSharedFilter(filter) && session.groupSize(filter) >= limits.maxGroupMembers) {
      stats.limitRejections[Limit.GROUP_MEMBERS]++;
      return ReasonCode.QUOTA_EXCEEDED;
    }
    return 0;
  }

  async carryOut(session: SessionPort): Promise<void> {
    if (this.#granted.size === 0) return;
    try {
      await session.subscribe([...this.#granted.values()]);
    } catch (error) {
      if (!(error instanceof SwarmqError) || endsConnection(error)) throw error;
      const reasonCode = error.reasonCode ?? ReasonCode.UNSPECIFIED_ERROR;
      this.#codes.forEach((code, place) => {
        if (code < ReasonCode.UNSPECIFIED_ERROR) this.#codes[place] = reasonCode;
      });
      this.#granted.clear();
    }
  }

  /** SUBACK. Before MQTT 5 there is one code for every refusal, 0x80 [MQTT-3.9.3-2]. */
  encodeAnswer(wantsReasons: boolean): Buffer {
    const isFive = this.#version === 5;
    const granted = this.#codes.map((code) => (isFive ? code : Math.min(code, ReasonCode.UNSPECIFIED_ERROR)));
    const properties = wantsReasons ? reasonsOf(granted) : undefined;
    return generatePacket({ cmd: 'suback', messageId: this.#packetId, granted, properties }, this.#version);
  }

  finish(session: SessionPort): void {
    if (this.#granted.size > 0) session.readRetained();
  }
}

/** The reason string of an answer with these codes: that of the first refusal. */
function reasonsOf(codes: readonly number[]): { reasonString: string } | undefined {
  const refusal = codes.find(isFailure);
  return refusal === undefined ? undefined : { reasonString: reasonTextOf(refusal) };
}

/** The session is not ours any more, or there is no store to ask. */
function endsConnection(error: SwarmqError): boolean {
  return error.code === 'SWARMQ_ERR_SESSION_FENCED' || error.code === 'SWARMQ_ERR_STORE_CLOSED';
}

/** An UNSUBSCRIBE from its arrival to its UNSUBACK. */
export class UnsubscribeRequest implements ControlRequest {
  readonly #packetId: number;
  readonly #version: ProtocolVersion;
  readonly #requested: readonly string[];
  readonly #invalid = new Set<string>();
  /** Filters that the session had. */
  #existed = new Set<string>();

  /** Throws as SubscribeRequest does. */
  constructor(version: ProtocolVersion, bytes: Buffer, limits: ConnectionLimits, stats: NodeStats) {
    const packet = parse(version, bytes, 'unsubscribe');
    checkCount(packet.unsubscriptions.length, limits, stats);
    this.#version = version;
    this.#packetId = packet.messageId as number;
    this.#requested = packet.unsubscriptions;
    for (const filter of this.#requested) {
      if (faultOf(filter, limits, stats) !== null) this.#invalid.add(filter);
    }
  }

  encodeForShell(): Buffer {
    const unsubscriptions = this.#requested.map((_filter, place) => String(place));
    return generatePacket({ cmd: 'unsubscribe', messageId: this.#packetId, unsubscriptions }, this.#version);
  }

  /** Nobody needs leave to unsubscribe. */
  judge(): void {}

  async carryOut(session: SessionPort): Promise<void> {
    const filters = [...new Set(this.#requested)].filter((filter) => !this.#invalid.has(filter));
    if (filters.length === 0) return;
    const existed = await session.unsubscribe(filters);
    this.#existed = new Set(filters.filter((_filter, index) => existed[index]));
  }

  /** UNSUBACK. A filter that stands twice in the packet existed once [MQTT5-3.11.3-1]. */
  encodeAnswer(wantsReasons: boolean): Buffer {
    const granted = this.#requested.map((filter) => {
      if (this.#invalid.has(filter)) return ReasonCode.TOPIC_FILTER_INVALID;
      return this.#existed.delete(filter) ? ReasonCode.SUCCESS : ReasonCode.NO_SUBSCRIPTION_EXISTED;
    });
    const properties = wantsReasons ? reasonsOf(granted) : undefined;
    return generatePacket({ cmd: 'unsuback', messageId: this.#packetId, granted, properties }, this.#version);
  }

  finish(): void {}
}
