// Delivery to receivers on this node that have no queue for the message: sessions that end with their connection, QoS 0
// subscriptions, and QoS 0 messages for anybody connected here. Receivers of the same shape share one QoS 0 packet, and
// where it may, that is the very slice in which the message came in.

import { encodeBody, isReusableAsIs, qos0Packet } from '../mqtt/message.ts';
import type { PublishReader } from '../mqtt/publish.ts';
import type { NodeStats } from '../observability/node-stats.ts';
import type { LocalTarget } from '../routing/router.ts';
import type { Session } from '../session/session.ts';
import { digestOf } from '../session/waiting-copies.ts';

/** One message's QoS 0 packets by shape, made when first asked for. One object is used again and again. */
class SharedPackets {
  #reader: PublishReader | null = null;
  #buf: Buffer | null = null;
  #topic = '';
  #body: Buffer | null = null;
  #plain: Buffer | null = null;
  #plainRetained: Buffer | null = null;
  #v5: Buffer | null = null;
  #v5Retained: Buffer | null = null;
  #digest: string | null = null;

  /** The packet that `reader` has just read. */
  fromPacket(reader: PublishReader, buf: Buffer, topic: string): void {
    this.#clear();
    this.#reader = reader;
    this.#buf = buf;
    this.#topic = topic;
  }

  fromBody(body: Buffer): void {
    this.#clear();
    this.#reader = null;
    this.#buf = null;
    this.#body = body;
  }

  body(): Buffer {
    this.#body ??= encodeBody(this.#reader as PublishReader, this.#topic, this.#buf as Buffer);
    return this.#body;
  }

  digest(): string {
    this.#digest ??= digestOf(this.body());
    return this.#digest;
  }

  packet(version: 3 | 4 | 5, retain: boolean): Buffer {
    if (version === 5) {
      if (retain) {
        this.#v5Retained ??= qos0Packet(5, this.body(), true);
        return this.#v5Retained;
      }
      this.#v5 ??= this.#asIs(5) ?? qos0Packet(5, this.body(), false);
      return this.#v5;
    }
    if (retain) {
      this.#plainRetained ??= qos0Packet(4, this.body(), true);
      return this.#plainRetained;
    }
    this.#plain ??= this.#asIs(4) ?? qos0Packet(4, this.body(), false);
    return this.#plain;
  }

  #asIs(version: 4 | 5): Buffer | null {
    const reader = this.#reader;
    if (reader === null || !isReusableAsIs(reader, version)) return null;
    return (this.#buf as Buffer).subarray(reader.start, reader.end);
  }

  #clear(): void {
    this.#body = null;
    this.#plain = null;
    this.#plainRetained = null;
    this.#v5 = null;
    this.#v5Retained = null;
    this.#digest = null;
  }
}

/** A message on its way to live receivers, with its parts in the open. */
export interface LiveParts {
  readonly publisher: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly topic: string;
  readonly body: Buffer;
  /** Store ms of its own expiry, 0 when it has none. */
  readonly expiresAt: number;
  readonly ownExpiry: boolean;
}

export class LocalDelivery {
  readonly #stats: NodeStats;
  readonly #packets = new SharedPackets();

  constructor(stats: NodeStats) {
    this.#stats = stats;
  }

  /** A QoS 0 message as it came in. Answers its body if one had to be made, so that it is not made twice. */
  deliverPacket(
    targets: readonly LocalTarget[],
    reader: PublishReader,
    buf: Buffer,
    topic: string,
    publisher: string,
  ): void {
    const packets = this.#packets;
    packets.fromPacket(reader, buf, topic);
    const retain = reader.retain;
    for (let index = 0; index < targets.length; index++) {
      this.#deliver0(targets[index], publisher, retain, topic, 0, false);
    }
  }

  /** Body of the message last given to deliverPacket. */
  lastBody(): Buffer {
    return this.#packets.body();
  }

  /** Any other message: committed, from another node, or of the node itself. */
  deliver(targets: readonly LocalTarget[], parts: LiveParts): void {
    if (targets.length === 0) return;
    const { publisher, qos, retain, topic, body, expiresAt, ownExpiry } = parts;
    this.#packets.fromBody(body);
    for (let index = 0; index < targets.length; index++) {
      const target = targets[index];
      if (qos === 0) {
        this.#deliver0(target, publisher, retain, topic, expiresAt, ownExpiry);
        continue;
      }
      const session = target.receiver as Session;
      const isOwn = session.clientId === publisher;
      const grant = isOwn ? target.grantOthers : target.grant;
      if (grant === null || (isOwn ? target.queuedOthers : target.queued)) continue;
      if (grant.qos === 0) {
        this.#deliver0(target, publisher, retain, topic, expiresAt, ownExpiry);
        continue;
      }
      if (retain) session.notes.noteTopic(topic);
      this.#stats.messagesMatched++;
      session.deliverLive(
        body,
        Math.min(qos, grant.qos) as 1 | 2,
        retain && grant.retainAsPublished,
        grant.subscriptionIds,
        expiresAt,
        ownExpiry,
      );
    }
  }

  /** A retained message that a fence sent back, as a copy for those who subscribed since and have not seen it. */
  deliverCopy(targets: readonly LocalTarget[], parts: LiveParts): void {
    for (const target of targets) {
      const session = target.receiver as Session;
      const isOwn = session.clientId === parts.publisher;
      const grant = isOwn ? target.grantOthers : target.grant;
      const queued = parts.qos !== 0 && (isOwn ? target.queuedOthers : target.queued);
      if (grant === null || queued || !session.notes.wantsCopy(parts.topic, parts.body)) continue;
      session.notes.noteCopy(parts.topic, parts.body);
      this.#stats.messagesMatched++;
      const qos = Math.min(parts.qos, grant.qos) as 0 | 1 | 2;
      session.deliverLive(parts.body, qos, true, grant.subscriptionIds, parts.expiresAt, parts.ownExpiry);
    }
  }

  #deliver0(
    target: LocalTarget,
    publisher: string,
    retain: boolean,
    topic: string,
    expiresAt: number,
    ownExpiry: boolean,
  ): void {
    const session = target.receiver as Session;
    const grant = session.clientId === publisher ? target.grantOthers : target.grant;
    if (grant === null) return;
    this.#stats.messagesMatched++;
    const keepsRetain = retain && grant.retainAsPublished;
    const isOfItsOwn = session.version === 5 && (grant.subscriptionIds !== null || session.hasAliases);
    const isSent =
      ownExpiry || isOfItsOwn
        ? session.deliverLive(
            this.#packets.body(),
            0,
            keepsRetain,
            grant.subscriptionIds,
            expiresAt,
            ownExpiry,
          )
        : session.sendReady(this.#packets.packet(session.version, keepsRetain));
    if (retain) session.notes.noteDirect(topic, isSent ? this.#packets : null);
  }
}
