// One connected client: the order of its control and data packets, and its end. Bytes are cut by the framer; PUBLISH and
// acks go on in place, without objects, to the publisher's way in and to the session. CONNECT, SUBSCRIBE, UNSUBSCRIBE
// and DISCONNECT go through Aedes one at a time, and whatever follows one waits, uncut, until it is answered: so a
// client meets its packets' effects in the order in which it sent them, however they were split (intake.ts).
// Invariant: a claimed session is released exactly once, whichever way the connection ends.

import type { AuthStep } from '../auth/mechanism.ts';
import { AckReader, PINGRESP } from '../mqtt/ack.ts';
import { encodeAuth } from '../mqtt/answers.ts';
import { malformed, protocolError } from '../mqtt/bytes.ts';
import { PacketType } from '../mqtt/packet-type.ts';
import { ReasonCode, reasonCodeOfReturnCode } from '../mqtt/reason-code.ts';
import { TopicAliases } from '../mqtt/topic-aliases.ts';
import type { Logger } from '../observability/logger.ts';
import { Limit, type NodeStats } from '../observability/node-stats.ts';
import type { HoldReason, Link, ProtocolVersion } from '../session/link.ts';
import { SwarmqError } from '../util/errors.ts';
import { stopPoint } from '../util/stop-point.ts';
import type { AedesShell } from './aedes-shell.ts';
import { type ClaimContext, claimSession, closeGraceMs, releaseSession } from './claim.ts';
import {
  type ConnectRules,
  type ConnectTerms,
  encodeAccepted,
  encodeRefused,
  judgeConnect,
  SHELL_CONNECTS,
} from './connect.ts';
import type { ControlEvents, ControlStream } from './control-stream.ts';
import { closeReasonOf, closeTextOf, disconnectFor, readDisconnect, readHeld } from './disconnect.ts';
import { EnhancedAuth } from './enhanced-auth.ts';
import { Intake, type IntakeOwner } from './intake.ts';
import { type KeepAliveWheel, TICK_MS, type Watched } from './keep-alive.ts';
import { Outbox, type OutboxOwner } from './outbox.ts';
import { OutboxLink } from './outbox-link.ts';
import type {
  ByteStream,
  ConnectionLimits,
  IngressPort,
  Leave,
  PublisherPort,
  SessionPort,
  StreamEvents,
} from './ports.ts';
import { AUTHENTICATING, AWAITS_CONNECT, CLOSED, CLOSING, CONNECTING, ESTABLISHED } from './states.ts';
import { type ControlRequest, SubscribeRequest, UnsubscribeRequest } from './subscribe.ts';
import type { TickEnd } from './tick-end.ts';

/** What all connections of a node share. */
export interface ConnectionContext extends ClaimContext, ConnectRules {
  readonly limits: ConnectionLimits;
  readonly stats: NodeStats;
  readonly logger: Logger;
  readonly shell: AedesShell;
  readonly wheel: KeepAliveWheel;
  readonly tickEnd: TickEnd;
  readonly ingress: IngressPort;
  /** The connection is over and its stream is gone. */
  onClosed(connection: Connection): void;
}

/** The DISCONNECT that Aedes gets: what the client's said has been seen to. */
const SHELL_DISCONNECT = Buffer.of(PacketType.DISCONNECT << 4, 0);

const ack = new AckReader();

export class Connection
  extends OutboxLink
  implements Link, IntakeOwner, StreamEvents, ControlEvents, OutboxOwner, Watched
{
  clientId = '';
  version: ProtocolVersion = 4;
  maximumPacketBytes = Number.POSITIVE_INFINITY;
  receiveMaximum = 65_535;
  wantsReasons = false;
  aliases: TopicAliases | null = null;

  wheelNext: Watched | null = null;
  wheelPrevious: Watched | null = null;
  wheelSlot = -1;

  readonly #context: ConnectionContext;
  readonly #stream: ByteStream;
  readonly #intake: Intake;
  protected readonly outbox: Outbox;
  #state: number = AWAITS_CONNECT;
  #isBridge = false;
  /** Wheel time at which the client was heard last, or the ending began. */
  #seenMs = 0;
  /** Milliseconds of silence that end the connection. */
  #silenceMs = Number.POSITIVE_INFINITY;
  #expirySec = 0;
  /** What the client has said by DISCONNECT, whatever ends the connection then [MQTT-3.14.4-3]. */
  #leave: Leave | null = null;
  #shell: ControlStream | null = null;
  #session: SessionPort | null = null;
  #publisher: PublisherPort | null = null;
  /** From CONNECT to CONNACK. */
  #terms: ConnectTerms | null = null;
  /** There where CONNECT named a method; and what CONNACK says at the end of it. */
  #auth: EnhancedAuth | null = null;
  #authData: Buffer | null = null;
  /** From a SUBSCRIBE or UNSUBSCRIBE to Aedes' answer. */
  #request: ControlRequest | null = null;

  constructor(context: ConnectionContext, stream: ByteStream) {
    super();
    const { limits, tickEnd, stats } = context;
    this.#context = context;
    this.#stream = stream;
    this.#intake = new Intake(this, stream, tickEnd, stats, limits.maxPacketSizeBytes);
    this.outbox = new Outbox(stream, this, tickEnd, stats, limits.maxConnectionBytes);
    stream.setHandlers(this);
  }

  // ---- Link: what session and delivery see

  close(reasonCode: number, detail?: string): void {
    if (this.#terms !== null) this.#refuse(reasonCode, detail);
    if (this.#state >= CLOSING) return;
    this.#log('connection closed by the node', { reasonCode });
    const held = () => this.#intake.heldDisconnect();
    this.#leave ??= readHeld(held, this.version, this.#expirySec, this.#context.limits);
    if (this.#state === ESTABLISHED && this.version === 5) {
      const packet = disconnectFor(this, reasonCode, this.#context.policy.serverReference, detail);
      if (packet !== null) this.outbox.send(packet);
    }
    this.#end();
  }

  hold(reason: HoldReason): void {
    this.#intake.hold(reason);
  }

  unhold(reason: HoldReason): void {
    this.#intake.unhold(reason);
  }

  // ---- the stream

  onData(chunk: Buffer): void {
    if (this.#state >= CLOSING) return;
    this.#seenMs = this.#context.wheel.nowMs;
    this.#context.stats.bytesReceived += chunk.length;
    this.#intake.take(chunk);
  }

  onDrain(): void {
    this.outbox.drained();
  }

  onClose(): void {
    const intake = this.#intake;
    intake.isStreamGone = true;
    this.outbox.close();
    if (this.#state >= CLOSING) this.#settleClosed();
    // Packets that wait uncut still count, a DISCONNECT may be among them; the end comes behind them.
    else if (!intake.isStill || (this.#state < ESTABLISHED && intake.waitingBytes === 0)) this.#end();
  }

  onReadingOn(): void {
    this.#seenMs = this.#context.wheel.nowMs;
  }

  onInputEnded(): void {
    this.#end();
  }

  onRoom(): void {
    this.#session?.drained();
  }

  onOverflow(): void {
    this.#context.stats.limitRejections[Limit.CONNECTION_BYTES]++;
    this.#log('connection closed: the client does not read what it asked for', {});
    this.#end();
    this.#stream.destroy();
  }

  // ---- the wheel

  dueMs(): number {
    if (this.#state >= CLOSING) return this.#seenMs + closeGraceMs(this.#leave);
    // A client that we do not read is not judged by its silence.
    const dueMs = (this.#intake.isStill ? this.#context.wheel.nowMs : this.#seenMs) + this.#silenceMs;
    return this.#auth === null ? dueMs : Math.min(dueMs, this.#auth.dueMs);
  }

  onDue(): void {
    if (this.#state >= CLOSING) this.#stream.destroy();
    else if (this.#auth !== null && this.#auth.dueMs <= this.#context.wheel.nowMs) {
      this.#context.stats.limitRejections[Limit.AUTHENTICATION]++;
      this.close(ReasonCode.NOT_AUTHORIZED, 'the authentication took too long');
    } else this.close(ReasonCode.KEEP_ALIVE_TIMEOUT);
  }

  // ---- packets

  /** One whole packet, from the framer. Throws a SwarmqError for what ends the connection; its caller closes it. */
  onPacket(buf: Buffer, start: number, bodyStart: number, end: number): void {
    const type = buf[start] >> 4;
    this.#context.stats.packetsReceived[type]++;
    if (this.#state !== ESTABLISHED) {
      if (this.#state === AUTHENTICATING) this.#handleAuth(type, buf.subarray(start, end));
      else this.#handleFirst(type, buf, bodyStart, end);
      return;
    }
    switch (type) {
      case PacketType.PUBLISH:
        this.#publisher!.publish(buf, start, bodyStart, end);
        return;
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBREL:
      case PacketType.PUBCOMP:
        ack.read(this.version, buf, start, bodyStart, end);
        this.#handleAck(type, ack.packetId, ack.reasonCode);
        return;
      case PacketType.PINGREQ:
        if (end !== bodyStart) throw malformed('PINGREQ with a body');
        this.outbox.send(PINGRESP);
        return;
      default:
        this.#handleControl(type, buf.subarray(start, end));
    }
  }

  #handleAck(type: number, packetId: number, reasonCode: number): void {
    if (type === PacketType.PUBACK) this.#session!.handlePuback(packetId, reasonCode);
    else if (type === PacketType.PUBREC) this.#session!.handlePubrec(packetId, reasonCode);
    else if (type === PacketType.PUBREL) this.#publisher!.pubrel(packetId);
    else this.#session!.handlePubcomp(packetId, reasonCode);
  }

  #handleFirst(type: number, buf: Buffer, bodyStart: number, end: number): void {
    if (type !== PacketType.CONNECT) throw protocolError('first packet is not CONNECT [MQTT-3.1.0-1]');
    this.#intake.stop();
    this.#state = CONNECTING;
    const { terms, reader, reasonCode, detail } = judgeConnect(buf, bodyStart, end, this.#context);
    this.version = reader.version;
    this.maximumPacketBytes = reader.maximumPacketBytes;
    this.wantsReasons = reader.wantsReasons;
    if (terms !== null) this.#takeTerms(terms);
    if (terms === null || reasonCode !== ReasonCode.SUCCESS) this.#refuse(reasonCode, detail);
    else if (terms.authMethod === null) this.#openShell(terms);
    else this.#beginAuth(terms.authMethod, terms.authData);
  }

  #takeTerms(terms: ConnectTerms): void {
    const { policy } = this.#context;
    this.#terms = terms;
    this.clientId = terms.clientId;
    this.receiveMaximum = terms.receiveMaximum;
    const aliases = Math.min(terms.topicAliasMaximum, policy.topicAliasMaximum);
    if (aliases > 0) this.aliases = new TopicAliases(aliases);
    this.#isBridge = terms.isBridge;
    this.#expirySec = terms.expirySec;
  }

  #handleControl(type: number, bytes: Buffer): void {
    const { limits, stats } = this.#context;
    if (type === PacketType.SUBSCRIBE) {
      this.#ask(new SubscribeRequest(this.version, this.#isBridge, bytes));
    } else if (type === PacketType.UNSUBSCRIBE) {
      this.#ask(new UnsubscribeRequest(this.version, bytes, limits, stats));
    } else if (type === PacketType.DISCONNECT) {
      this.#leave = readDisconnect(this.version, bytes, this.#expirySec, limits);
      this.#intake.stop();
      // Messages sent before it have been taken in then; their commits go on without the connection.
      this.#publisher!.whenTaken(() => this.#shell?.feed(SHELL_DISCONNECT));
    } else if (type === PacketType.AUTH && this.#auth !== null) {
      this.#handleAuth(type, bytes);
    } else {
      // A second CONNECT [MQTT-3.1.0-2], AUTH without a method in CONNECT [MQTT5-4.12.0-6], packets of a server.
      throw protocolError(`packet of type ${type}`);
    }
  }

  #ask(request: ControlRequest): void {
    this.#intake.stop();
    const session = this.#session!;
    const packet = request.encodeForShell(session, this.#context.limits, this.#context.stats);
    this.#request = packet === null ? null : request;
    if (packet === null) void this.#carryOut(request, session);
    else this.#shell!.feed(packet);
  }

  // ---- Aedes

  onAuthenticate(): void {
    if (this.#terms !== null) void this.#claim(this.#terms);
  }

  onAuthorizeSubscribe(place: number): void {
    if (this.#session !== null) this.#request?.grant(place);
  }

  onAnswer(packetType: number, code: number): void {
    const request = this.#request;
    const session = this.#session;
    if (packetType === PacketType.CONNACK) {
      this.#refuse(this.version === 5 ? code : reasonCodeOfReturnCode(code));
    } else if (request !== null && session !== null) {
      this.#request = null;
      void this.#carryOut(request, session);
    }
  }

  onControlEnded(): void {
    // Aedes ends a connection for a DISCONNECT; for anything else it has met an error.
    this.#end();
  }

  // ---- enhanced authentication

  #beginAuth(method: string, data: Buffer | null): void {
    const { authenticator, stats } = this.#context;
    const mechanism = authenticator.mechanism(method);
    if (mechanism === undefined) {
      this.#refuse(ReasonCode.BAD_AUTHENTICATION_METHOD);
      return;
    }
    this.#state = AUTHENTICATING;
    this.#auth = new EnhancedAuth(mechanism, stats);
    void this.#authenticate(this.#auth, data);
  }

  /** AUTH of an exchange: that of CONNECT, when nothing else may come but DISCONNECT [MQTT-3.1.2-30], or a later one. */
  #handleAuth(type: number, bytes: Buffer): void {
    const { wheel } = this.#context;
    const auth = this.#auth as EnhancedAuth;
    if (type === PacketType.DISCONNECT) {
      this.#end();
      return;
    }
    const data = auth.read(bytes, wheel.nowMs);
    if (this.#state === ESTABLISHED && auth.dueMs !== Number.POSITIVE_INFINITY) wheel.add(this);
    this.#intake.stop();
    void this.#authenticate(auth, data);
  }

  async #authenticate(auth: EnhancedAuth, data: Buffer | null): Promise<void> {
    const step: AuthStep = await auth.step(data);
    if (this.#state >= CLOSING) return;
    if (step.kind === 'refused') {
      this.close(step.reasonCode);
    } else if (step.kind === 'done' && this.#terms !== null) {
      this.#state = CONNECTING;
      this.#authData = step.data;
      this.#openShell(this.#terms);
    } else {
      const reasonCode = step.kind === 'done' ? ReasonCode.SUCCESS : ReasonCode.CONTINUE_AUTHENTICATION;
      this.#answer(encodeAuth(reasonCode, { method: auth.method, data: step.data }));
      this.#intake.goOn();
    }
  }

  // ---- from CONNECT to CONNACK

  /** Whoever comes so far is no stranger to the listener any more; Aedes gets a plain CONNECT. */
  #openShell(terms: ConnectTerms): void {
    const { shell, limits, policy } = this.#context;
    this.#stream.established();
    if (encodeAccepted(terms, false, limits, policy, this.#authData).length > this.maximumPacketBytes) {
      this.#refuse(ReasonCode.PACKET_TOO_LARGE);
      return;
    }
    this.#shell = shell.open(this);
    this.#shell.feed(SHELL_CONNECTS[terms.version]);
  }

  async #claim(terms: ConnectTerms): Promise<void> {
    const isWanted = () => this.#state === CONNECTING;
    const session = await claimSession(this.#context, terms, this.#stream.info.remoteAddress, isWanted);
    if (typeof session === 'number') {
      this.#refuse(session);
    } else if (isWanted()) {
      this.#session = session;
      session.attach(this);
      this.#shell?.admit();
    } else {
      await releaseSession(session, { dropWill: false, expirySec: terms.expirySec });
    }
  }

  /** Aedes has taken the client in: CONNACK leaves, then the session begins. */
  onAdmitted(): void {
    const terms = this.#terms;
    const session = this.#session;
    if (this.#state !== CONNECTING || terms === null || session === null) return;
    stopPoint('connect/before-connack');
    const { limits, policy, stats, ingress, wheel } = this.#context;
    this.#terms = null;
    this.#state = ESTABLISHED;
    stats.sessionsConnected++;
    stats.sessionsConnectedMax = Math.max(stats.sessionsConnectedMax, stats.sessionsConnected);
    if (terms.keepAliveSec > 0) {
      // [MQTT-3.1.2-24]: one and a half times; a tick more, because wheel time is as of the last tick.
      this.#silenceMs = terms.keepAliveSec * 1500 + TICK_MS;
      this.#seenMs = wheel.nowMs;
      wheel.add(this);
    }
    this.#log('client connected', { isPresent: session.present });
    this.#publisher = ingress.open(this, session);
    this.#answer(encodeAccepted(terms, session.present, limits, policy, this.#authData));
    this.#authData = null;
    session.start();
    this.#intake.goOn();
  }

  #refuse(reasonCode: number, detail?: string): void {
    if (this.#state !== CONNECTING && this.#state !== AUTHENTICATING) return;
    this.#log('connection refused', { reasonCode });
    const connack = encodeRefused(this, reasonCode, this.#context.policy.serverReference, detail);
    if (connack !== null) this.outbox.send(connack);
    this.#end();
  }

  // ---- SUBSCRIBE and UNSUBSCRIBE, from Aedes' answer to ours

  async #carryOut(request: ControlRequest, session: SessionPort): Promise<void> {
    try {
      await request.carryOut(session);
    } catch (error) {
      this.onFault(error);
    }
    if (this.#state !== ESTABLISHED) return;
    const answer = request.encodeAnswer(this.wantsReasons);
    this.#answer(answer.length <= this.maximumPacketBytes ? answer : request.encodeAnswer(false));
    request.finish(session);
    this.#intake.goOn();
  }

  /** An answer that is larger than the client takes cannot be left out: the client waits for it [MQTT-3.1.2-24]. */
  #answer(packet: Buffer): void {
    if (packet.length <= this.maximumPacketBytes) this.outbox.send(packet);
    else this.close(ReasonCode.PACKET_TOO_LARGE);
  }

  /** Ends the connection for a coded error; any other one is a fault of ours and goes on. */
  onFault(error: unknown): void {
    if (!(error instanceof SwarmqError)) throw error;
    if (error.code === 'SWARMQ_ERR_PACKET_TOO_LARGE')
      this.#context.stats.limitRejections[Limit.PACKET_SIZE]++;
    this.#log('connection failed', { err: error });
    this.close(closeReasonOf(error), closeTextOf(error));
  }

  #log(sentence: string, fields: object): void {
    const { logger } = this.#context;
    if (!logger.isLevelEnabled('debug')) return;
    const { listener, remoteAddress } = this.#stream.info;
    logger.debug({ clientId: this.clientId, remoteAddress, listener, ...fields }, sentence);
  }

  // ---- the end

  /** What waits is written, the session is given back, the stream is closed. */
  #end(): void {
    if (this.#state >= CLOSING) return;
    const { stats, wheel } = this.#context;
    const session = this.#session;
    const shell = this.#shell;
    if (this.#state === ESTABLISHED) stats.sessionsConnected--;
    this.#state = CLOSING;
    this.#intake.end();
    this.outbox.flush();
    this.outbox.close();
    this.#publisher?.close();
    this.#publisher = null;
    this.#session = null;
    this.#shell = null;
    this.#terms = null;
    this.#request = null;
    const leave = this.#leave ?? { dropWill: false, expirySec: this.#expirySec };
    const released = session === null ? null : releaseSession(session, leave);
    shell?.destroy();
    if (this.#intake.isStreamGone) {
      this.#settleClosed();
      return;
    }
    // Who leaves and awaits the end of the connection finds, wherever it comes next, what it has said of its session.
    if (this.#leave === null || released === null) this.#stream.end();
    else void released.then(() => this.#stream.end());
    this.#seenMs = wheel.nowMs;
    wheel.add(this);
  }

  #settleClosed(): void {
    if (this.#state === CLOSED) return;
    this.#state = CLOSED;
    this.#context.wheel.remove(this);
    this.#context.onClosed(this);
  }
}
