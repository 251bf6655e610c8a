// One connected client: the order of its control and data packets, and its end. Bytes are cut by the framer; PUBLISH and
// acks go on in place, without objects, to the publisher's way in and to the session. CONNECT, SUBSCRIBE, UNSUBSCRIBE
// and DISCONNECT go through Aedes one at a time, and whatever follows one waits, uncut, until it is answered: so a
// client meets its packets' effects in the order in which it sent them, however they were split. While the framer
// stands still, the socket is read on for a few bytes only: enough to notice that the client is gone.
// Invariant: a claimed session is released exactly once, whichever way the connection ends.

import { AckReader, PINGRESP } from '../mqtt/ack.ts';
import { encodeDisconnect } from '../mqtt/answers.ts';
import { malformed, protocolError } from '../mqtt/bytes.ts';
import { Framer, type PacketSink } from '../mqtt/framer.ts';
import { PacketType } from '../mqtt/packet-type.ts';
import { ReasonCode, reasonCodeOfReturnCode } from '../mqtt/reason-code.ts';
import type { Logger } from '../observability/logger.ts';
import { Limit } from '../observability/node-stats.ts';
import type { HoldReason, Link, ProtocolVersion } from '../session/link.ts';
import { SwarmqError } from '../util/errors.ts';
import type { Random } from '../util/random.ts';
import { stopPoint } from '../util/stop-point.ts';
import type { AedesShell } from './aedes-shell.ts';
import { type ClaimContext, claimSession, releaseSession } from './claim.ts';
import {
  agreeOnTerms,
  type ConnectTerms,
  encodeAccepted,
  encodeRefused,
  encodeShellConnect,
  versionOfBroken,
} from './connect.ts';
import type { ControlEvents, ControlStream } from './control-stream.ts';
import { closeReasonOf, readDisconnect } from './disconnect.ts';
import { type KeepAliveWheel, TICK_MS, type Watched } from './keep-alive.ts';
import { Outbox, type OutboxOwner } from './outbox.ts';
import type { ByteStream, IngressPort, PublisherPort, SessionPort, StreamEvents } from './ports.ts';
import { type ControlRequest, SubscribeRequest, UnsubscribeRequest } from './subscribe.ts';
import type { EndsTick, TickEnd } from './tick-end.ts';

/** What all connections of a node share. */
export interface ConnectionContext extends ClaimContext {
  readonly random: Random;
  readonly logger: Logger;
  readonly shell: AedesShell;
  readonly wheel: KeepAliveWheel;
  readonly tickEnd: TickEnd;
  readonly ingress: IngressPort;
  /** The connection is over and its stream is gone. */
  onClosed(connection: Connection): void;
}

/** Bytes that may wait uncut before the socket is not read any more. */
const READ_AHEAD_BYTES = 4096;
/** How long a client that was told to go may leave its socket open; a takeover is to be done within a second. */
const CLOSE_GRACE_MS = 500;

const AWAITS_CONNECT = 0;
const CONNECTING = 1;
const ESTABLISHED = 2;
/** Nothing is read or sent any more; the stream is being ended. */
const CLOSING = 3;
const CLOSED = 4;

/** Why the framer stands still, as bits. */
const STOP_CONTROL = 1;
const STOP_ENDED = 2;
const STOP_UNCOMMITTED = 4;
const STOP_NODE_FULL = 8;
/** No hold is left; the end of the tick goes on. */
const STOP_RESUMING = 16;
const HOLDS = STOP_UNCOMMITTED | STOP_NODE_FULL;
const bitOf = (reason: HoldReason): number => (reason === 'node-full' ? STOP_NODE_FULL : STOP_UNCOMMITTED);

/** The DISCONNECT that Aedes gets: what the client's said has been seen to. */
const SHELL_DISCONNECT = Buffer.of(PacketType.DISCONNECT << 4, 0);

const ack = new AckReader();

export class Connection
  implements Link, PacketSink, StreamEvents, ControlEvents, OutboxOwner, Watched, EndsTick
{
  clientId = '';
  version: ProtocolVersion = 4;
  maximumPacketBytes = Number.POSITIVE_INFINITY;
  receiveMaximum = 65_535;

  wheelNext: Watched | null = null;
  wheelPrevious: Watched | null = null;
  wheelSlot = -1;

  readonly #context: ConnectionContext;
  readonly #stream: ByteStream;
  readonly #framer: Framer;
  readonly #outbox: Outbox;
  #state = AWAITS_CONNECT;
  #stops = 0;
  #isCutting = false;
  #isPaused = false;
  #isStreamGone = false;
  #isBridge = false;
  /** Wheel time at which the client was heard last, or the ending began. */
  #seenMs = 0;
  /** Milliseconds of silence that end the connection; 0 for none. */
  #silenceMs = 0;
  #expirySec = 0;
  #dropsWill = false;
  #shell: ControlStream | null = null;
  #session: SessionPort | null = null;
  #publisher: PublisherPort | null = null;
  /** From CONNECT to CONNACK. */
  #terms: ConnectTerms | null = null;
  /** From a SUBSCRIBE or UNSUBSCRIBE to Aedes' answer. */
  #request: ControlRequest | null = null;

  constructor(context: ConnectionContext, stream: ByteStream) {
    const { limits, tickEnd, stats } = context;
    this.#context = context;
    this.#stream = stream;
    this.#framer = new Framer(this, limits.maxPacketSizeBytes);
    this.#outbox = new Outbox(stream, this, tickEnd, stats, limits.maxConnectionBytes);
    stream.setHandlers(this);
  }

  get remoteAddress(): string {
    return this.#stream.info.remoteAddress;
  }

  // ---- Link: what session and delivery see

  send(packet: Buffer): void {
    this.#outbox.send(packet);
  }

  hasRoom(): boolean {
    return this.#outbox.hasRoom();
  }

  close(reasonCode: number): void {
    if (this.#state >= CLOSING) return;
    this.#log('connection closed by the node', { reasonCode });
    if (this.#state === ESTABLISHED && this.version === 5) this.#outbox.send(encodeDisconnect(reasonCode));
    this.#end(false);
  }

  hold(reason: HoldReason): void {
    if (this.#state >= CLOSING) return;
    if ((this.#stops & HOLDS) === 0) this.#context.stats.connectionsHeld++;
    this.#stop(bitOf(reason));
  }

  /** Reading goes on at the end of the tick: whoever lets go may be in the middle of its own bookkeeping. */
  unhold(reason: HoldReason): void {
    if ((this.#stops & bitOf(reason)) === 0) return;
    this.#stops &= ~bitOf(reason);
    if ((this.#stops & HOLDS) !== 0) return;
    const { stats, tickEnd } = this.#context;
    stats.connectionsHeld--;
    this.#stops |= STOP_RESUMING;
    tickEnd.add(this);
  }

  onTickEnd(): void {
    this.#stops &= ~STOP_RESUMING;
    this.#proceed();
  }

  // ---- the stream

  onData(chunk: Buffer): void {
    if (this.#state >= CLOSING) return;
    this.#seenMs = this.#context.wheel.nowMs;
    this.#context.stats.bytesReceived += chunk.length;
    this.#cut(chunk);
  }

  onDrain(): void {
    this.#outbox.drained();
  }

  onClose(): void {
    this.#isStreamGone = true;
    this.#outbox.close();
    if (this.#state >= CLOSING) this.#settleClosed();
    // Packets that wait uncut still count, a DISCONNECT may be among them; the end comes behind them.
    else if (this.#stops === 0 || (this.#state === CONNECTING && this.#framer.waitingBytes === 0))
      this.#end(false);
  }

  onRoom(): void {
    this.#session?.drained();
  }

  onOverflow(): void {
    this.#context.stats.limitRejections[Limit.CONNECTION_BYTES]++;
    this.#log('connection closed: the client does not read what it asked for', {});
    this.#end(false);
    this.#stream.destroy();
  }

  // ---- the wheel

  dueMs(): number {
    if (this.#state >= CLOSING) return this.#seenMs + CLOSE_GRACE_MS;
    // A client that we do not read is not judged by its silence.
    return (this.#stops === 0 ? this.#seenMs : this.#context.wheel.nowMs) + this.#silenceMs;
  }

  onDue(): void {
    if (this.#state >= CLOSING) this.#stream.destroy();
    else this.close(ReasonCode.KEEP_ALIVE_TIMEOUT);
  }

  // ---- packets

  /** One whole packet, from the framer. Throws a SwarmqError for what ends the connection; its caller closes it. */
  onPacket(buf: Buffer, start: number, bodyStart: number, end: number): void {
    const type = buf[start] >> 4;
    this.#context.stats.packetsReceived[type]++;
    if (this.#state !== ESTABLISHED) {
      this.#handleFirst(type, buf, bodyStart, end);
      return;
    }
    switch (type) {
      case PacketType.PUBLISH:
        this.#publisher!.publish(buf, start, bodyStart, end);
        return;
      case PacketType.PUBACK:
        ack.read(this.version, buf, start, bodyStart, end);
        this.#session!.handlePuback(ack.packetId, ack.reasonCode);
        return;
      case PacketType.PUBREC:
        ack.read(this.version, buf, start, bodyStart, end);
        this.#session!.handlePubrec(ack.packetId, ack.reasonCode);
        return;
      case PacketType.PUBREL:
        ack.read(this.version, buf, start, bodyStart, end);
        this.#publisher!.pubrel(ack.packetId);
        return;
      case PacketType.PUBCOMP:
        ack.read(this.version, buf, start, bodyStart, end);
        this.#session!.handlePubcomp(ack.packetId, ack.reasonCode);
        return;
      case PacketType.PINGREQ:
        if (end !== bodyStart) throw malformed('PINGREQ with a body');
        this.#outbox.send(PINGRESP);
        return;
      default:
        this.#handleControl(type, buf.subarray(start, end));
    }
  }

  #handleFirst(type: number, buf: Buffer, bodyStart: number, end: number): void {
    if (type !== PacketType.CONNECT) throw protocolError('first packet is not CONNECT [MQTT-3.1.0-1]');
    const { limits, stats, random, shell } = this.#context;
    this.#stop(STOP_CONTROL);
    this.#state = CONNECTING;
    this.#stream.established();
    let terms: ConnectTerms;
    try {
      terms = agreeOnTerms(buf, bodyStart, end, limits, stats, random);
    } catch (error) {
      const version = versionOfBroken(buf, bodyStart, end);
      if (version === null || !(error instanceof SwarmqError)) throw error;
      this.version = version;
      this.#refuse(error.reasonCode ?? ReasonCode.UNSPECIFIED_ERROR);
      return;
    }
    this.#terms = terms;
    this.clientId = terms.clientId;
    this.version = terms.version;
    this.maximumPacketBytes = terms.maximumPacketBytes;
    this.receiveMaximum = terms.receiveMaximum;
    this.#isBridge = terms.isBridge;
    this.#expirySec = terms.expirySec;
    this.#shell = shell.open(this);
    this.#shell.feed(encodeShellConnect(terms));
  }

  #handleControl(type: number, bytes: Buffer): void {
    const { limits, stats } = this.#context;
    if (type === PacketType.SUBSCRIBE) {
      this.#ask(new SubscribeRequest(this.version, this.#isBridge, bytes, limits, stats));
    } else if (type === PacketType.UNSUBSCRIBE) {
      this.#ask(new UnsubscribeRequest(this.version, bytes, limits, stats));
    } else if (type === PacketType.DISCONNECT) {
      const leave = readDisconnect(this.version, bytes, this.#expirySec, limits);
      this.#expirySec = leave.expirySec;
      this.#stop(STOP_CONTROL);
      // Messages sent before it have been taken in then; their commits go on without the connection.
      this.#publisher!.whenTaken(() => {
        this.#dropsWill = leave.dropWill;
        this.#shell?.feed(SHELL_DISCONNECT);
      });
    } else {
      // A second CONNECT [MQTT-3.1.0-2], AUTH without a method in CONNECT [MQTT5-4.12.0-6], packets of a server.
      throw protocolError(`packet of type ${type}`);
    }
  }

  #ask(request: ControlRequest): void {
    this.#stop(STOP_CONTROL);
    this.#request = request;
    this.#shell!.feed(request.encodeForShell());
  }

  // ---- Aedes

  onAuthenticate(): void {
    if (this.#terms !== null) void this.#claim(this.#terms);
  }

  onAuthorizeSubscribe(place: number): void {
    const { limits, stats } = this.#context;
    if (this.#session !== null) this.#request?.judge(place, this.#session, limits, stats);
  }

  onAnswer(packetType: number, code: number): void {
    const request = this.#request;
    const session = this.#session;
    if (packetType === PacketType.CONNACK) {
      if (code === 0) this.#accept();
      else this.#refuse(this.version === 5 ? code : reasonCodeOfReturnCode(code));
    } else if (request !== null && session !== null) {
      this.#request = null;
      void this.#carryOut(request, session);
    }
  }

  onControlEnded(): void {
    // Aedes ends a connection for a DISCONNECT; for anything else it has met an error.
    this.#end(this.#dropsWill);
  }

  // ---- from CONNECT to CONNACK

  async #claim(terms: ConnectTerms): Promise<void> {
    const isWanted = () => this.#state === CONNECTING;
    const session = await claimSession(this.#context, terms, this.remoteAddress, isWanted);
    if (typeof session === 'number') {
      this.#refuse(session);
    } else if (isWanted()) {
      this.#session = session;
      session.attach(this);
      this.#shell?.admit();
    } else {
      await releaseSession(session, false, terms.expirySec);
    }
  }

  /** CONNACK leaves, then the session begins. */
  #accept(): void {
    const terms = this.#terms;
    const session = this.#session;
    if (this.#state !== CONNECTING || terms === null || session === null) return;
    stopPoint('connect/before-connack');
    const { limits, stats, ingress, wheel } = this.#context;
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
    this.#answer(encodeAccepted(terms, session.present, limits));
    session.start();
    this.#goOn();
  }

  #refuse(reasonCode: number): void {
    if (this.#state !== CONNECTING) return;
    this.#log('connection refused', { reasonCode });
    const connack = encodeRefused(this.version, reasonCode);
    if (connack !== null) this.#outbox.send(connack);
    this.#end(false);
  }

  // ---- SUBSCRIBE and UNSUBSCRIBE, from Aedes' answer to ours

  async #carryOut(request: ControlRequest, session: SessionPort): Promise<void> {
    try {
      await request.carryOut(session);
    } catch (error) {
      this.#fail(error);
    }
    if (this.#state !== ESTABLISHED) return;
    this.#answer(request.encodeAnswer());
    request.finish(session);
    this.#goOn();
  }

  /** An answer that is larger than the client takes cannot be left out: the client waits for it [MQTT-3.1.2-24]. */
  #answer(packet: Buffer): void {
    if (packet.length <= this.maximumPacketBytes) this.#outbox.send(packet);
    else this.close(ReasonCode.PACKET_TOO_LARGE);
  }

  // ---- standing still and going on

  #stop(bit: number): void {
    this.#stops |= bit;
    this.#framer.stop();
  }

  /** The control packet is answered. */
  #goOn(): void {
    this.#stops &= ~STOP_CONTROL;
    this.#proceed();
  }

  #proceed(): void {
    if (this.#stops !== 0) return;
    this.#seenMs = this.#context.wheel.nowMs;
    this.#cut(null);
  }

  /** Takes a chunk, or goes on with what is held. Called from within, it leaves the rest to the loop at work. */
  #cut(chunk: Buffer | null): void {
    const isOuter = !this.#isCutting;
    this.#isCutting = true;
    try {
      if (chunk === null) this.#framer.resume();
      else this.#framer.push(chunk);
    } catch (error) {
      this.#fail(error);
    } finally {
      if (isOuter) this.#isCutting = false;
    }
    if (!isOuter || this.#state >= CLOSING) return;
    if (this.#stops === 0 && this.#isStreamGone) {
      this.#end(false);
      return;
    }
    const isFull = this.#stops !== 0 && this.#framer.waitingBytes > READ_AHEAD_BYTES;
    if (isFull === this.#isPaused) return;
    this.#isPaused = isFull;
    if (isFull) this.#stream.pauseReading();
    else this.#stream.resumeReading();
  }

  /** Ends the connection for a coded error; any other one is a fault of ours and goes on. */
  #fail(error: unknown): void {
    if (!(error instanceof SwarmqError)) throw error;
    if (error.code === 'SWARMQ_ERR_PACKET_TOO_LARGE')
      this.#context.stats.limitRejections[Limit.PACKET_SIZE]++;
    this.#log('connection failed', { err: error });
    this.close(closeReasonOf(error));
  }

  #log(sentence: string, fields: object): void {
    const { logger } = this.#context;
    if (!logger.isLevelEnabled('debug')) return;
    const { clientId, remoteAddress } = this;
    logger.debug({ clientId, remoteAddress, listener: this.#stream.info.listener, ...fields }, sentence);
  }

  // ---- the end

  /** What waits is written, the session is given back, the stream is closed. */
  #end(dropWill: boolean): void {
    if (this.#state >= CLOSING) return;
    const { stats, wheel } = this.#context;
    const session = this.#session;
    const shell = this.#shell;
    if (this.#state === ESTABLISHED) stats.sessionsConnected--;
    if ((this.#stops & HOLDS) !== 0) stats.connectionsHeld--;
    this.#state = CLOSING;
    this.#stops = STOP_ENDED;
    this.#framer.stop();
    this.#outbox.flush();
    this.#outbox.close();
    this.#publisher?.close();
    this.#publisher = null;
    this.#session = null;
    this.#shell = null;
    this.#terms = null;
    this.#request = null;
    if (session !== null) void releaseSession(session, dropWill, this.#expirySec);
    shell?.destroy();
    if (this.#isStreamGone) {
      this.#settleClosed();
      return;
    }
    this.#stream.end();
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
