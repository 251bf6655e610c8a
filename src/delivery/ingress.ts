// The PUBLISH steps in order, for one connection: read in place, alias, limits, authorization, then by QoS. QoS 0 is
// delivered here and now; QoS 1 and 2 become a commit in the connection's line, whose release answers the client. Every
// connection's uncommitted messages are bounded, and so are the node's: beyond that the connection is not read.

import { isUtf8 } from 'node:buffer';
import type { CompiledConfig } from '../config/compile.ts';
import { encodeBody } from '../mqtt/message.ts';
import { PacketType } from '../mqtt/packet-type.ts';
import { PublishReader } from '../mqtt/publish.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import { TopicCache } from '../mqtt/topic-cache.ts';
import { Limit, type NodeStats } from '../observability/node-stats.ts';
import type { Match, Router } from '../routing/router.ts';
import type { Link } from '../session/link.ts';
import { sendAnswer } from '../session/sending.ts';
import type { Session } from '../session/session.ts';
import type { Store } from '../store/store.ts';
import type { Clock } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';
import { stopPoint } from '../util/stop-point.ts';
import { Commit, Line, type LineOwner } from './commit.ts';
import type { FanOut } from './fan-out.ts';
import type { Gate } from './gate.ts';
import { InboundQos2 } from './inbound-qos2.ts';
import type { InboxFence } from './inbox-fence.ts';
import type { LocalDelivery } from './local.ts';
import type { NodeMarks } from './marks.ts';

export type IngressLimits = Pick<
  CompiledConfig['limits'],
  | 'maxTopicLengthBytes'
  | 'maxTopicLevels'
  | 'topicAliasMaximum'
  | 'receiveMaximum'
  | 'maxUncommittedPerConnection'
  | 'maxUncommittedMessages'
  | 'maxUncommittedBytes'
>;

export interface IngressOptions {
  readonly store: Store;
  readonly router: Router;
  readonly fanOut: FanOut;
  readonly local: LocalDelivery;
  readonly marks: NodeMarks;
  readonly gate: Gate;
  readonly fence: InboxFence;
  readonly clock: Clock;
  readonly stats: NodeStats;
  readonly limits: IngressLimits;
  /** connection.checkPayloadFormat */
  readonly checkPayloadFormat: boolean;
  /** Sends a QoS 0 message to other nodes, if they have room, and to shared groups. */
  toNodes(match: Match, reader: PublishReader, topic: string, publisher: string, body: Buffer): void;
}

export class Ingress {
  readonly options: IngressOptions;
  readonly reader = new PublishReader(new TopicCache());
  readonly #held = new Set<Publisher>();
  /** Uncommitted here: the node's figures outlive its incarnations. */
  #messages = 0;
  #bytes = 0;

  constructor(options: IngressOptions) {
    this.options = options;
  }

  /** A connection whose CONNECT was accepted begins to publish. */
  open(link: Link, session: Session): Publisher {
    return new Publisher(this, link, session);
  }

  /** One more message is taken in; holds the publisher when the node has too many. */
  taken(publisher: Publisher, bytes: number): void {
    const { stats, limits } = this.options;
    this.#messages++;
    this.#bytes += bytes;
    stats.uncommittedMessages++;
    stats.uncommittedBytes += bytes;
    const isFull =
      stats.uncommittedMessages >= limits.maxUncommittedMessages ||
      stats.uncommittedBytes >= limits.maxUncommittedBytes;
    if (!isFull || this.#held.has(publisher)) return;
    const hasMessages = stats.uncommittedMessages >= limits.maxUncommittedMessages;
    stats.limitRejections[hasMessages ? Limit.UNCOMMITTED_MESSAGES : Limit.UNCOMMITTED_BYTES]++;
    this.#held.add(publisher);
    publisher.link.hold('node-full');
  }

  /** One message less is uncommitted. */
  released(bytes: number): void {
    const { stats, limits } = this.options;
    this.#messages--;
    this.#bytes -= bytes;
    stats.uncommittedMessages--;
    stats.uncommittedBytes -= bytes;
    if (this.#held.size === 0 || stats.uncommittedMessages * 4 > limits.maxUncommittedMessages * 3) return;
    if (stats.uncommittedBytes * 4 > limits.maxUncommittedBytes * 3) return;
    for (const publisher of this.#held) publisher.link.unhold('node-full');
    this.#held.clear();
  }

  closed(publisher: Publisher): void {
    this.#held.delete(publisher);
  }

  /** The store is closed: nothing that is uncommitted will be, and none of it counts against the node any more. */
  end(): void {
    const { stats } = this.options;
    stats.uncommittedMessages -= this.#messages;
    stats.uncommittedBytes -= this.#bytes;
    this.#messages = 0;
    this.#bytes = 0;
  }
}

export class Publisher implements LineOwner {
  readonly link: Link;
  readonly #ingress: Ingress;
  readonly #session: Session;
  readonly #line: Line;
  #aliases: Map<number, string> | null = null;
  #inbound: InboundQos2 | null = null;
  #number = 0;
  /**
   * QoS 1 messages without PUBACK and QoS 2 messages without PUBCOMP of this connection, as the client counts them; less
   * than 0 where exchanges of an earlier connection have ended on this one [MQTT5-4.9.0-1].
   */
  #quotaUsed = 0;
  #isHeld = false;
  #isClosed = false;

  constructor(ingress: Ingress, link: Link, session: Session) {
    this.#ingress = ingress;
    this.link = link;
    this.#session = session;
    const { fanOut, gate, fence } = ingress.options;
    this.#line = new Line(fanOut, gate, this, fence);
    if (session.receptions !== null) this.#openInbound();
  }

  /**
   * Handles the PUBLISH packet buf[start, end). Throws a SwarmqError with the reason code for which the connection must
   * be closed; then nothing of the packet has had an effect.
   */
  publish(buf: Buffer, start: number, bodyStart: number, end: number): void {
    const { options, reader } = this.#ingress;
    reader.read(this.link.version, buf, start, bodyStart, end);
    const topic = this.#topic(reader);
    const { limits, stats } = options;
    const { qos } = reader;
    if (
      reader.topicLevels > limits.maxTopicLevels ||
      reader.topicEnd - reader.topicStart > limits.maxTopicLengthBytes
    ) {
      stats.limitRejections[
        reader.topicLevels > limits.maxTopicLevels ? Limit.TOPIC_LEVELS : Limit.TOPIC_LENGTH
      ]++;
      throw new SwarmqError('SWARMQ_ERR_PACKET_PROTOCOL', 'topic is longer or deeper than allowed', {
        reasonCode: ReasonCode.TOPIC_NAME_INVALID,
      });
    }
    this.#number++;
    // What begins with $SYS is the broker's own.
    stats.publishBytesReceived += end - reader.payloadStart;
    if (topic.charCodeAt(0) === 36 && topic.startsWith('$SYS/')) {
      stats.publishesDenied++;
      this.#refuse(reader, ReasonCode.NOT_AUTHORIZED);
    } else if (reader.payloadFormat === 1 && !this.#isPayloadText(reader, buf)) {
      stats.limitRejections[Limit.PAYLOAD_FORMAT]++;
      this.#refuse(reader, ReasonCode.PAYLOAD_FORMAT_INVALID);
    } else if (qos === 0) this.#publish0(topic, reader, buf);
    else this.#publish12(topic, reader, buf);
  }

  /** Handles PUBREL; answers with PUBCOMP when the removal of the record is committed. */
  pubrel(packetId: number): void {
    stopPoint('publish/pubrel');
    this.#openInbound().release(packetId);
  }

  /** Calls `run` when all that was handed in has been taken in: taking in is never put off here. */
  whenTaken(run: () => void): void {
    run();
  }

  /** The connection ended. What was taken in is still committed, but answered to nobody. */
  close(): void {
    this.#isClosed = true;
    this.#ingress.closed(this);
  }

  release(commit: Commit): void {
    const { options } = this.#ingress;
    const { stats, local, marks } = options;
    this.#ingress.released(commit.body.length);
    if (this.#isHeld && this.#line.length * 2 <= options.limits.maxUncommittedPerConnection) {
      this.#isHeld = false;
      this.link.unhold('uncommitted');
    }
    if (commit.retainOnly) return;
    if (commit.qos === 1) this.#quotaUsed--;
    if (commit.cancelled) return;
    stopPoint('publish/committed');
    const match = commit.match as Match;
    if (match.local.length > 0) {
      if (commit.mark === null || marks.take(commit.mark)) local.deliver(match.local, commit);
      else stats.messagesRepeated++;
    }
    if (this.#isClosed || commit.isFenced) return;
    const { link } = this;
    stats.publishDuration.observe((options.clock.turnMs() - commit.takenAtMs) / 1000);
    if (commit.qos === 1) sendAnswer(link, PacketType.PUBACK, commit.packetId, commit.reasonCode);
    else this.#openInbound().received(commit.packetId, commit.reasonCode);
  }

  /** The payload is the UTF-8 that it is said to be, or is not looked at. */
  #isPayloadText(reader: PublishReader, buf: Buffer): boolean {
    const { checkPayloadFormat } = this.#ingress.options;
    return !checkPayloadFormat || isUtf8(buf.subarray(reader.payloadStart, reader.end));
  }

  #topic(reader: PublishReader): string {
    const { topicAlias } = reader;
    if (topicAlias === 0) return reader.topic;
    const { limits, stats } = this.#ingress.options;
    if (topicAlias > limits.topicAliasMaximum) {
      stats.limitRejections[Limit.TOPIC_ALIAS]++;
      throw aliasInvalid(topicAlias);
    }
    this.#aliases ??= new Map();
    if (reader.topic !== '') {
      this.#aliases.set(topicAlias, reader.topic);
      return reader.topic;
    }
    const topic = this.#aliases.get(topicAlias);
    if (topic === undefined) throw aliasInvalid(topicAlias);
    return topic;
  }

  /** The message goes nowhere; MQTT 5 publishers learn why. */
  #refuse(reader: PublishReader, reasonCode: number): void {
    if (reader.qos === 0) return;
    const { link } = this;
    const type = reader.qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
    sendAnswer(link, type, reader.packetId, reasonCode);
  }

  #publish0(topic: string, reader: PublishReader, buf: Buffer): void {
    const { options } = this.#ingress;
    const { router, local, stats } = options;
    stats.messagesReceived[0]++;
    const match = router.match(topic);
    if (match.local.length > 0) local.deliverPacket(match.local, reader, buf, topic, this.link.clientId);
    const hasNodes = match.nodesAll.length > 0 || match.nodesQos0.length > 0 || match.groups.length > 0;
    if (!hasNodes && !reader.retain) return;
    const body = encodeBody(reader, topic, buf);
    if (hasNodes) options.toNodes(match, reader, topic, this.link.clientId, body);
    if (!reader.retain) return;
    const commit = this.#commit(topic, body, reader);
    commit.retainOnly = true;
    commit.match = match;
    commit.version = router.version;
    this.#enter(commit);
  }

  #publish12(topic: string, reader: PublishReader, buf: Buffer): void {
    const { options } = this.#ingress;
    const { stats } = options;
    const { qos, packetId } = reader;
    if (qos === 2) {
      const inbound = this.#openInbound();
      const sight = inbound.sight(packetId);
      if (sight === 'known') {
        stats.messagesRepeated++;
        return;
      }
      stats.messagesReceived[2]++;
      this.#useQuota();
      const commit = this.#commit(topic, encodeBody(reader, topic, buf), reader);
      // The record names the members of shared groups that are chosen here.
      options.fanOut.prepare(commit);
      inbound.begin(commit);
      this.#enter(commit);
      return;
    }
    this.#useQuota();
    stats.messagesReceived[1]++;
    const commit = this.#commit(topic, encodeBody(reader, topic, buf), reader);
    options.fanOut.prepare(commit);
    this.#enter(commit);
  }

  #commit(topic: string, body: Buffer, reader: PublishReader): Commit {
    const { messageExpirySec } = reader;
    const hasExpiry = messageExpirySec >= 0;
    const { store, clock } = this.#ingress.options;
    // An interval of 0 leaves a moment for what can be delivered at once.
    const expiresAt = hasExpiry ? Math.floor(store.nowMs()) + Math.max(messageExpirySec * 1000, 1) : 0;
    const { link } = this;
    const commit = new Commit(
      this.#line,
      link.clientId,
      topic,
      body,
      reader.qos,
      reader.retain,
      expiresAt,
      hasExpiry,
      reader.packetId,
    );
    if (reader.qos > 0) commit.takenAtMs = clock.turnMs();
    if (reader.retain && reader.qos !== 2) {
      commit.writer = { clientId: link.clientId, epoch: this.#session.epoch, number: this.#number };
    }
    return commit;
  }

  #enter(commit: Commit): void {
    const { limits, stats } = this.#ingress.options;
    this.#ingress.taken(this, commit.body.length);
    this.#line.push(commit);
    if (this.#isHeld || this.#line.length < limits.maxUncommittedPerConnection) return;
    this.#isHeld = true;
    stats.limitRejections[Limit.UNCOMMITTED_PER_CONNECTION]++;
    this.link.hold('uncommitted');
  }

  /** [MQTT5-3.3.4-9]: a client that sends more than Receive Maximum is disconnected. Before MQTT 5 it is only held. */
  #useQuota(): void {
    const { limits, stats } = this.#ingress.options;
    this.#quotaUsed++;
    if (this.link.version !== 5 || this.#quotaUsed <= limits.receiveMaximum) return;
    stats.limitRejections[Limit.RECEIVE_MAXIMUM]++;
    throw new SwarmqError('SWARMQ_ERR_PACKET_PROTOCOL', `${this.#quotaUsed} messages at once`, {
      reasonCode: ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
    });
  }

  #openInbound(): InboundQos2 {
    if (this.#inbound === null) {
      const { store, gate, router } = this.#ingress.options;
      this.#inbound = new InboundQos2(store, gate, router.groups, this.#session, this.link, () => {
        this.#quotaUsed--;
      });
    }
    return this.#inbound;
  }
}

function aliasInvalid(alias: number): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_PACKET_PROTOCOL', `topic alias ${alias} is not known [MQTT5-3.3.2-12]`, {
    reasonCode: ReasonCode.TOPIC_ALIAS_INVALID,
  });
}
