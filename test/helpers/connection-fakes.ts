// What a connection meets, without sockets and stores: a byte stream in memory, sessions and an ingress that write down
// what they are asked, and a clock whose time a test moves.

import { AedesShell } from '../../src/connection/aedes-shell.ts';
import { Connections } from '../../src/connection/connections.ts';
import type {
  Authenticator,
  ByteStream,
  ConnectionLimits,
  ConnectionPolicy,
  IngressPort,
  Leave,
  PublisherPort,
  SessionClaim,
  SessionPort,
  SessionsPort,
  StreamEvents,
} from '../../src/connection/ports.ts';
import { encodeAck } from '../../src/mqtt/ack.ts';
import { PacketType } from '../../src/mqtt/packet-type.ts';
import { PublishReader } from '../../src/mqtt/publish.ts';
import { TopicCache } from '../../src/mqtt/topic-cache.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import type { Link } from '../../src/session/link.ts';
import type { Subscription } from '../../src/store/records.ts';
import type { Clock } from '../../src/util/clock.ts';
import { seededRandom } from '../../src/util/random.ts';

export const LIMITS: ConnectionLimits = {
  maxConnections: 1000,
  maxPacketSizeBytes: 65_536,
  maxTopicLengthBytes: 200,
  maxTopicLevels: 20,
  maxClientIdLengthBytes: 64,
  maxSubscriptionsPerSession: 5,
  maxGroupMembers: 3,
  receiveMaximum: 100,
  topicAliasMaximum: 10,
  maxKeepAliveMs: 65_535_000,
  maxSessionExpiryMs: 3_600_000,
  maxConnectionBytes: 65_536,
};

export const POLICY: ConnectionPolicy = {
  topicAliasMaximum: 2,
  responseInformation: undefined,
  serverReference: undefined,
  redirect: 'off',
  checkPayloadFormat: false,
};

/** Lets everybody in. */
export const allowAll: Authenticator = {
  authenticate: () => Promise.resolve(0),
  mechanism: () => undefined,
};

/** Time moves by `advance`; what is to run soon runs when the event loop comes round. */
export class ManualClock implements Clock {
  #nowMs = 0;
  readonly #periodic: { periodMs: number; dueMs: number; run: () => void }[] = [];
  wallMs(): number {
    return this.#nowMs;
  }
  monotonicMs(): number {
    return this.#nowMs;
  }

  turnMs(): number {
    return this.monotonicMs();
  }
  after(): { cancel(): void } {
    throw new Error('the manual clock has no single timers');
  }
  every(periodMs: number, run: () => void) {
    const one = { periodMs, dueMs: this.#nowMs + periodMs, run };
    this.#periodic.push(one);
    return { cancel: () => void this.#periodic.splice(this.#periodic.indexOf(one), 1) };
  }
  soon(run: () => void): void {
    setImmediate(run);
  }
  /** Moves time in the steps of the timers; with `isFrozen`, in one step, as after a stall. */
  advance(ms: number, isFrozen = false): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const next = isFrozen ? undefined : this.#periodic.find((one) => one.dueMs <= endMs);
      if (next === undefined) break;
      this.#nowMs = next.dueMs;
      next.dueMs += next.periodMs;
      next.run();
    }
    this.#nowMs = endMs;
    if (!isFrozen) return;
    for (const one of this.#periodic) {
      one.dueMs = endMs + one.periodMs;
      one.run();
    }
  }
}

export class MemoryStream implements ByteStream {
  readonly info = { listener: 'memory', remoteAddress: '10.0.0.1' };
  readonly writes: Buffer[] = [];
  isPaused = false;
  isEstablished = false;
  isEnded = false;
  isDestroyed = false;
  /** What the stream says is waiting. */
  waiting = 0;
  /** The client closes its side as soon as ours has ended. */
  closesBack = true;
  #handlers: StreamEvents | null = null;
  #isClosed = false;

  setHandlers(handlers: StreamEvents): void {
    this.#handlers = handlers;
  }
  write(bytes: Buffer): boolean {
    this.writes.push(bytes);
    return this.waiting === 0;
  }
  bytesWaiting(): number {
    return this.waiting;
  }
  pauseReading(): void {
    this.isPaused = true;
  }
  resumeReading(): void {
    this.isPaused = false;
  }
  established(): void {
    this.isEstablished = true;
  }
  end(): void {
    this.isEnded = true;
    if (this.closesBack) setImmediate(() => this.hangUp());
  }
  destroy(): void {
    this.isDestroyed = true;
    setImmediate(() => this.hangUp());
  }

  /** Bytes from the client. */
  feed(bytes: Buffer): void {
    this.#handlers!.onData(bytes);
  }
  drain(): void {
    this.waiting = 0;
    this.#handlers!.onDrain();
  }
  /** The socket is gone. */
  hangUp(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#handlers?.onClose();
  }
  get isClosed(): boolean {
    return this.#isClosed;
  }
  /** All that was written. */
  get output(): Buffer {
    return Buffer.concat(this.writes);
  }
}

export class FakeSession implements SessionPort {
  readonly clientId: string;
  readonly life = 1;
  readonly epoch = 1;
  present = false;
  link: Link | null = null;
  readonly subscriptions = new Map<string, Subscription>();
  /** What subscribe and unsubscribe wait for. */
  gate: Promise<void> = Promise.resolve();
  fault: Error | null = null;
  readonly #log: string[];

  constructor(clientId: string, log: string[]) {
    this.clientId = clientId;
    this.#log = log;
  }
  /** Members that a group has. */
  members = 0;
  groupSize(): number {
    return this.members;
  }
  attach(link: Link): void {
    this.link = link;
    this.#log.push('attach');
  }
  start(): void {
    this.#log.push('start');
  }
  async subscribe(subscriptions: readonly Subscription[]): Promise<void> {
    this.#log.push(`subscribe ${subscriptions.map((one) => `${one.filter}:${one.qos}`).join(' ')}`);
    await this.gate;
    if (this.fault !== null) throw this.fault;
    for (const one of subscriptions) this.subscriptions.set(one.filter, one);
  }
  readRetained(): void {
    this.#log.push('retained');
  }
  async unsubscribe(filters: readonly string[]): Promise<boolean[]> {
    this.#log.push(`unsubscribe ${filters.join(' ')}`);
    await this.gate;
    return filters.map((filter) => this.subscriptions.delete(filter));
  }
  handlePuback(packetId: number, reasonCode: number): void {
    this.#log.push(`puback ${packetId} ${reasonCode}`);
  }
  handlePubrec(packetId: number, reasonCode: number): void {
    this.#log.push(`pubrec ${packetId} ${reasonCode}`);
  }
  handlePubcomp(packetId: number, reasonCode: number): void {
    this.#log.push(`pubcomp ${packetId} ${reasonCode}`);
  }
  drained(): void {
    this.#log.push('drained');
  }
  subscriptionCount(): number {
    return this.subscriptions.size;
  }
  has(filter: string): boolean {
    return this.subscriptions.has(filter);
  }
  async release(options: Leave): Promise<void> {
    this.#log.push(`release ${options.dropWill ? 'clean' : 'will'} ${options.expirySec}`);
    await this.gate;
  }
}

export class FakeSessions implements SessionsPort {
  readonly claims: SessionClaim[] = [];
  readonly sessions: FakeSession[] = [];
  /** What claims wait for. */
  gate: Promise<void> = Promise.resolve();
  fault: Error | null = null;
  isPresent = false;
  readonly #log: string[];
  constructor(log: string[]) {
    this.#log = log;
  }
  async claim(request: SessionClaim): Promise<SessionPort> {
    this.claims.push(request);
    this.#log.push(`claim ${request.clientId}`);
    await this.gate;
    if (this.fault !== null) throw this.fault;
    const session = new FakeSession(request.clientId, this.#log);
    session.present = this.isPresent;
    this.sessions.push(session);
    return session;
  }
}

/** Reads every PUBLISH, and acks it at once. */
export class FakeIngress implements IngressPort {
  /** What the next publisher is to do with `whenTaken`. */
  taken: (run: () => void) => void = (run) => run();
  onPublish: (link: Link) => void = () => {};
  readonly #log: string[];
  readonly #reader = new PublishReader(new TopicCache());
  constructor(log: string[]) {
    this.#log = log;
  }
  open(link: Link): PublisherPort {
    const reader = this.#reader;
    return {
      publish: (buf, start, bodyStart, end) => {
        reader.read(link.version, buf, start, bodyStart, end);
        const { packetId, qos } = reader;
        this.#log.push(`publish ${reader.topic} ${buf.toString('utf8', reader.payloadStart, end)}`);
        if (qos === 1) link.send(encodeAck(PacketType.PUBACK, link.version, packetId));
        if (qos === 2) link.send(encodeAck(PacketType.PUBREC, link.version, packetId));
        this.onPublish(link);
      },
      pubrel: (packetId) => {
        this.#log.push(`pubrel ${packetId}`);
        link.send(encodeAck(PacketType.PUBCOMP, link.version, packetId));
      },
      whenTaken: (run) => this.taken(run),
      close: () => void this.#log.push('publisher closed'),
    };
  }
}

export interface Bench {
  readonly log: string[];
  readonly clock: ManualClock;
  readonly stats: NodeStats;
  readonly sessions: FakeSessions;
  readonly ingress: FakeIngress;
  readonly connections: Connections;
  readonly shell: AedesShell;
  connect(): MemoryStream;
  close(): Promise<void>;
}

export async function openBench(
  limits: Partial<ConnectionLimits> = {},
  authenticator: Authenticator = allowAll,
  policy: Partial<ConnectionPolicy> = {},
): Promise<Bench> {
  const log: string[] = [];
  const clock = new ManualClock();
  const stats = new NodeStats();
  const sessions = new FakeSessions(log);
  const ingress = new FakeIngress(log);
  const shell = await AedesShell.create();
  const connections = new Connections({
    limits: { ...LIMITS, ...limits },
    policy: { ...POLICY, ...policy },
    clock,
    random: seededRandom(1),
    logger: silentLogger,
    stats,
    shell,
    authenticator,
    sessions,
    ingress,
  });
  return {
    log,
    clock,
    stats,
    sessions,
    ingress,
    connections,
    shell,
    connect() {
      const stream = new MemoryStream();
      connections.accept(stream);
      return stream;
    },
    async close() {
      connections.stop();
      await shell.close();
    },
  };
}
