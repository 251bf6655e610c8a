// The fuzzer at work on running nodes. Each case is a connection: a good or broken CONNECT, then packets good and broken
// in any order, cut anywhere, down to single bytes. Whatever comes back must be MQTT, a connection that was given up must
// be closed, nodes must live, log no error and hold no connection or memory of it, and bystanders must be served all the
// while. A case follows from the seed and its number.

import { connect as openSocket, type Socket } from 'node:net';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import type { Owner } from '../helpers/owner.ts';
import type { SwarmqNode } from '../helpers/swarmq-node.ts';
import { anyPacket, BREAKAGES, type Breakage, CERTAIN, Dice, validConnect } from './fuzz-packets.ts';
import * as mqtt from './packets.ts';

export interface FuzzOptions {
  seed: number;
  /** Cases until this moment of performance.now(). */
  untilMs: number;
  /** Pairs of a node to publish at and one to subscribe at, for the bystanders. */
  bystanders: readonly (readonly [SwarmqNode, SwarmqNode])[];
  nodes: readonly SwarmqNode[];
  /** Cases at a time; default 12. */
  parallel?: number;
}

export interface FuzzReport {
  cases: number;
  packets: number;
  bytes: number;
  closedByNode: number;
  findings: string[];
  /** Packets sent, by `version/type/breakage` ("good" where none). */
  kinds: Map<string, number>;
  bystanders: { sent: number; received: number; slowestMs: number }[];
  /** Resident megabytes of each node, sampled over the run. */
  memoryMb: number[][];
}

/** A connection that was ended by the client must be closed within this time. */
const PATIENCE_MS = 20_000;
/** How long a case listens before it ends its side. */
const LISTEN_MS = 40;
const SAMPLE_MS = 1000;
const VERSIONS = [3, 4, 5] as const;

class Bystander {
  sent = 0;
  slowestMs = 0;
  readonly #publisher: MqttClient;
  readonly #subscriber: MqttClient;
  readonly #sentAt: number[] = [];

  constructor(owner: Owner, index: number) {
    this.#publisher = new MqttClient(owner, { clientId: `bystander-${index}-publisher`, version: 5 });
    this.#subscriber = new MqttClient(owner, { clientId: `bystander-${index}-subscriber`, version: 4 });
    this.#subscriber.onReceived = ({ at, payload }) => {
      this.slowestMs = Math.max(this.slowestMs, at - this.#sentAt[Number(payload)]!);
    };
  }

  async start([from, to]: readonly [SwarmqNode, SwarmqNode]): Promise<void> {
    await this.#subscriber.connect(to.port);
    await this.#subscriber.subscribe('bystander/#', 1);
    await this.#publisher.connect(from.port);
  }

  get received(): number {
    return this.#subscriber.received.length;
  }

  get isConnected(): boolean {
    return this.#publisher.isConnected && this.#subscriber.isConnected;
  }

  send(index: number): void {
    this.#sentAt.push(performance.now());
    this.#publisher.publishThen(`bystander/${index}`, String(this.sent++), { qos: 1 }, () => {});
  }
}

export class Fuzzer {
  readonly report: FuzzReport;
  readonly #options: FuzzOptions;
  readonly #owner: Owner;
  #next = 0;

  constructor(owner: Owner, options: FuzzOptions) {
    this.#owner = owner;
    this.#options = options;
    this.report = {
      cases: 0,
      packets: 0,
      bytes: 0,
      closedByNode: 0,
      findings: [],
      kinds: new Map(),
      bystanders: [],
      memoryMb: options.nodes.map(() => []),
    };
  }

  async run(): Promise<FuzzReport> {
    const { bystanders, parallel = 12, nodes } = this.#options;
    const served = bystanders.map((_pair, index) => new Bystander(this.#owner, index));
    for (const [index, one] of served.entries()) await one.start(bystanders[index]!);
    const before = await Promise.all(nodes.map((node) => node.metric('swarmq_connections')));
    const sending = setInterval(() => {
      for (const [index, one] of served.entries()) one.send(index);
    }, 50);
    const sampling = setInterval(() => this.#sample(), SAMPLE_MS);
    await Promise.all(Array.from({ length: parallel }, () => this.#work()));
    clearInterval(sending);
    clearInterval(sampling);
    await this.#rest(served, before);
    this.report.bystanders = served.map(({ sent, received, slowestMs }) => ({ sent, received, slowestMs }));
    return this.report;
  }

  #sample(): void {
    for (const [index, node] of this.#options.nodes.entries()) {
      if (node.isRunning) this.report.memoryMb[index]!.push(Math.round(node.residentBytes() / 1e6));
    }
  }

  /** What must be so when all is over. */
  async #rest(served: readonly Bystander[], before: readonly (number | undefined)[]): Promise<void> {
    const { findings } = this.report;
    for (const [index, one] of served.entries()) {
      await eventually('bystanders are served', () => one.received >= one.sent).catch(() => {});
      if (one.received !== one.sent) findings.push(`bystander ${index}: ${one.received} of ${one.sent}`);
      if (!one.isConnected) findings.push(`bystander ${index} was disconnected`);
    }
    for (const [index, node] of this.#options.nodes.entries()) {
      if (!node.isRunning) {
        findings.push(`${node.name} has ended: ${node.log.slice(-2000)}`);
        continue;
      }
      const bad = node.log.split('\n').filter((line) => /"level":"(error|fatal)"|unhandled/i.test(line));
      if (bad.length > 0) findings.push(`${node.name} logged ${bad.length} errors: ${bad[0]}`);
      let left: number | undefined;
      const isFree = async () => {
        left = await node.metric('swarmq_connections');
        return left === before[index];
      };
      await eventually('all connections are gone', isFree).catch(() => {});
      if (left !== before[index])
        findings.push(`${node.name} holds ${left} connections, not ${before[index]}`);
    }
  }

  async #work(): Promise<void> {
    while (performance.now() < this.#options.untilMs && this.#options.nodes.some((node) => node.isRunning)) {
      await this.runCase(this.#next++);
    }
  }

  /** Sends case `number` of the seed. */
  async runCase(number: number): Promise<void> {
    const { nodes, seed } = this.#options;
    const dice = new Dice(Math.imul(seed, 0x9e3779b1) ^ number);
    const version = VERSIONS[dice.below(3)]!;
    const isCertain = dice.chance(10);
    const certain = dice.of(CERTAIN);
    const packets = isCertain
      ? [mqtt.connect(version, `certain-${number % 100}`), certain[1](version)]
      : this.#packetsOf(dice, version);
    const conversation = new Conversation(nodes[number % nodes.length]!.port, version);
    this.report.cases++;
    this.report.bytes += packets.reduce((sum, one) => sum + one.length, 0);
    await conversation.send(chunksOf(dice, packets));
    const isClosed = await conversation.end(isCertain ? PATIENCE_MS : LISTEN_MS, PATIENCE_MS);
    if (conversation.wasEndedByNode) this.report.closedByNode++;
    const faults = [...conversation.faults];
    if (!isClosed) faults.push('not closed');
    if (isCertain) faults.push(...conversation.judge(certain[2]));
    for (const fault of faults) {
      const sent = Buffer.concat(packets).toString('hex').slice(0, 600);
      this.report.findings.push(`case ${number} of seed ${seed} (${version}): ${fault}; sent ${sent}`);
    }
  }

  #packetsOf(dice: Dice, version: mqtt.Version): Buffer[] {
    const first = dice.chance(3) ? 1 + dice.below(15) : mqtt.CONNECT;
    const types = Array.from({ length: dice.below(12) }, () => 1 + dice.below(15));
    return [first, ...types].map((type, index) => {
      const isFirst = index === 0 && type === mqtt.CONNECT;
      const good = isFirst ? validConnect(dice, version) : anyPacket(dice, version, type);
      const breakage: Breakage | 'good' = dice.chance(isFirst ? 10 : 25)
        ? dice.of(Object.keys(BREAKAGES) as Breakage[])
        : 'good';
      const kind = `${version}/${type}/${breakage}`;
      this.report.kinds.set(kind, (this.report.kinds.get(kind) ?? 0) + 1);
      this.report.packets++;
      return breakage === 'good' ? good : BREAKAGES[breakage](dice, good);
    });
  }
}

/** The bytes in the pieces in which they are written: whole, packet by packet, cut anywhere, or byte by byte. */
export function chunksOf(dice: Dice, packets: readonly Buffer[]): Buffer[] {
  const whole = Buffer.concat(packets);
  const way = dice.below(4);
  if (way === 0) return [whole];
  if (way === 1) return [...packets];
  const size = () => (way === 3 && whole.length < 600 ? 1 : 1 + dice.below(Math.max(1, whole.length / 2)));
  const chunks: Buffer[] = [];
  for (let at = 0; at < whole.length; ) {
    const end = at + Math.floor(size());
    chunks.push(whole.subarray(at, end));
    at = end;
  }
  return chunks;
}

/** One connection of the fuzzer: what came back is held against what a broker may say. */
class Conversation {
  readonly faults: string[] = [];
  wasEndedByNode = false;
  readonly #version: mqtt.Version;
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #answers: mqtt.Answer[] = [];
  #isClosed = false;
  #hasEnded = false;

  constructor(port: number, version: mqtt.Version) {
    this.#version = version;
    this.#socket = openSocket({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    this.#socket.on('error', () => {});
    this.#socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
    });
    this.#socket.on('end', () => {
      this.wasEndedByNode = !this.#hasEnded;
      this.#socket.end();
    });
    this.#socket.on('close', () => {
      this.#isClosed = true;
    });
  }

  async send(chunks: readonly Buffer[]): Promise<void> {
    for (const chunk of chunks) {
      if (this.#isClosed || this.#socket.writableEnded) return;
      this.#socket.write(chunk);
      // A turn of the event loop, so that the pieces arrive as pieces.
      if (chunks.length > 1) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Listens for a while, then this side is done; answers whether the node has closed within the time. */
  async end(listenMs: number, withinMs: number): Promise<boolean> {
    const closedWithin = async (ms: number) => {
      const deadline = performance.now() + ms;
      while (!this.#isClosed && performance.now() < deadline) await new Promise((run) => setTimeout(run, 2));
    };
    await closedWithin(listenMs);
    this.#hasEnded = true;
    this.#socket.end();
    await closedWithin(withinMs);
    const isClosed = this.#isClosed;
    this.#socket.destroy();
    this.#read();
    return isClosed;
  }

  #read(): void {
    const bytes = this.#received;
    let fault = '';
    // A refusal may be in the words of another version than the fuzzer meant, since it broke the level.
    for (const version of [this.#version, 5, 4] as const) {
      try {
        this.#answers = readAll(version, bytes);
        this.#check();
        return;
      } catch (error) {
        fault ||= `${(error as Error).message}; got ${bytes.toString('hex').slice(0, 400)}`;
      }
    }
    this.faults.push(fault);
  }

  #check(): void {
    const types = this.#answers.map(({ type }) => type);
    if (types.length > 0 && types[0] !== mqtt.CONNACK) this.faults.push(`first came type ${types[0]}`);
    if (types.lastIndexOf(mqtt.CONNACK) > 0) this.faults.push('two CONNACKs');
    const told = types.indexOf(mqtt.DISCONNECT);
    if (told >= 0 && told !== types.length - 1) this.faults.push('something behind DISCONNECT');
    const last = this.#answers.at(-1);
    const known = new Set([0x81, 0x82, 0x83, 0x87, 0x8c, 0x8d, 0x8e, 0x90, 0x93, 0x94, 0x95, 0x97, 0x99]);
    if (last?.type === mqtt.DISCONNECT && !known.has(last.code)) {
      this.faults.push(`DISCONNECT 0x${last.code.toString(16)}`);
    }
  }

  /** What is wrong with the answer to a packet whose reason is certain. */
  judge(codes: readonly number[]): string[] {
    const last = this.#answers.at(-1);
    if (!this.wasEndedByNode) return ['not ended'];
    if (this.#version !== 5) return last?.type === mqtt.CONNACK ? [] : ['said something'];
    // Another case may have taken the client identifier over.
    if (last?.type === mqtt.DISCONNECT && [...codes, 0x8e].includes(last.code)) return [];
    return [`${last?.bytes.toString('hex')} instead of DISCONNECT ${codes}`];
  }
}

function readAll(version: mqtt.Version, bytes: Buffer): mqtt.Answer[] {
  const answers: mqtt.Answer[] = [];
  for (let at = 0; at < bytes.length; ) {
    let length = 0;
    let size = 1;
    for (; ; size++) {
      const byte = bytes[at + size];
      if (byte === undefined) return answers;
      length += (byte & 127) * 128 ** (size - 1);
      if (byte < 128) break;
      if (size === 4) throw new Error('a remaining length of five bytes');
    }
    const end = at + size + 1 + length;
    if (end > bytes.length) return answers;
    answers.push(mqtt.readAnswer(version, bytes.subarray(at, end)));
    at = end;
  }
  return answers;
}
