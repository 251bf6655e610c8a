// A whole run: nodes, store, devices and faults on one virtual time, made from one seed. What the world does to it is a
// method here; who does what when is a plan's, or a test's.

import type { Logger } from '../../src/observability/logger.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import type { Operation } from '../../src/store/operations.ts';
import { type Random, seededRandom } from '../../src/util/random.ts';
import { type ConnectPlan, type DeviceOptions, NEVER } from './call.ts';
import { Device } from './device.ts';
import { History } from './history.ts';
import { SimNode } from './sim-node.ts';
import { VirtualTime } from './virtual-time.ts';
import { SimStore } from './world.ts';

/** A loss of the store's tail: what happened between the two times may be undone. */
export interface Loss {
  readonly fromMs: number;
  readonly atMs: number;
  readonly at: number;
}

export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly trace?: (line: string) => void;
  /** Log lines of the nodes go into the trace as well. */
  readonly isVerbose?: boolean;
  readonly limits?: Partial<StoreLimits>;
}

export class Cluster {
  readonly time = new VirtualTime();
  readonly random: Random;
  readonly history = new History();
  readonly store: SimStore;
  readonly nodes: SimNode[] = [];
  readonly devices = new Map<string, Device>();
  readonly losses: Loss[] = [];
  /** Virtual times at which a fault began or ended. */
  readonly faultsMs: number[] = [];
  /** What nodes logged as errors: broken invariants of theirs. */
  readonly errors: string[] = [];
  isPaused = false;
  readonly #trace: (line: string) => void;
  readonly #isVerbose: boolean;

  constructor({ seed, nodes, trace = () => {}, isVerbose = false, limits = {} }: ClusterOptions) {
    this.random = seededRandom(seed);
    this.#trace = (line) => trace(`${this.time.sinceStartMs.toFixed(1).padStart(9)} ${line}`);
    this.#isVerbose = isVerbose;
    this.store = new SimStore(this.time, this.random, limits);
    for (let index = 0; index < nodes; index++) {
      const name = `n${index + 1}`;
      this.nodes.push(
        new SimNode({
          name,
          time: this.time,
          store: this.store,
          random: this.random,
          logger: this.#logger(name),
        }),
      );
    }
  }

  /** Starts all nodes and waits until they serve. */
  async start(): Promise<this> {
    for (const node of this.nodes) await node.start();
    await this.until('all nodes serve', () => this.nodes.every((node) => node.isServing));
    return this;
  }

  device(id: string, options: Partial<DeviceOptions> = {}): Device {
    const known = this.devices.get(id);
    if (known !== undefined) return known;
    const device = new Device({
      ...{ id, version: 5, expirySec: NEVER, receiveMaximum: 65_535 },
      ...{ time: this.time, random: this.random, history: this.history, trace: this.#trace },
      ...options,
    });
    this.devices.set(id, device);
    return device;
  }

  /** A device that has its CONNACK. */
  async connected(
    id: string,
    node: SimNode,
    options: Partial<DeviceOptions> = {},
    plan: Partial<ConnectPlan> = {},
  ): Promise<Device> {
    const device = this.device(id, options);
    device.connect(node, { cleanStart: false, will: null, willDelaySec: 0, ...plan });
    await this.until(`CONNACK of ${id}`, () => device.isConnected);
    return device;
  }

  /** Lets time pass until the condition holds; throws when it does not within `withinMs`. */
  async until(what: string, isTrue: () => boolean, withinMs = 30_000): Promise<void> {
    const endMs = this.time.nowMs + withinMs;
    while (!isTrue()) {
      if (this.time.nowMs >= endMs) throw new Error(`not within ${withinMs} ms of virtual time: ${what}`);
      await this.time.pass(20, isTrue);
    }
  }

  pass(ms: number): Promise<void> {
    return this.time.pass(ms);
  }

  note(line: string): void {
    this.history.note(line);
    this.#trace(line);
  }

  // ---- faults

  #fault(line: string): void {
    this.faultsMs.push(this.time.nowMs);
    this.note(`** ${line}`);
  }

  kill(node: SimNode): void {
    if (!node.isUp) return;
    this.#fault(`kill ${node.name}`);
    node.kill(this.someRunLate());
  }

  async restart(node: SimNode): Promise<void> {
    if (node.isUp) return;
    this.#fault(`start ${node.name}`);
    await node.start();
  }

  async stop(node: SimNode): Promise<void> {
    if (!node.isServing || node.process.isFrozen) return;
    this.#fault(`stop ${node.name}`);
    let isStopped = false;
    node.stop().then(
      () => {
        isStopped = true;
      },
      (error: unknown) => this.errors.push(`${node.name} did not stop: ${String(error)}`),
    );
    await this.time.pass(2000, () => isStopped);
  }

  async freeze(node: SimNode): Promise<void> {
    if (!node.isUp || node.process.isFrozen) return;
    // What Aedes has begun in this instant ends before the process stands.
    await this.time.rest();
    this.#fault(`freeze ${node.name}`);
    node.freeze(this.random.below(2) === 0);
  }

  thaw(node: SimNode): void {
    if (!node.process.isFrozen) return;
    this.#fault(`thaw ${node.name}`);
    node.thaw();
  }

  /** Cuts a node's connection to the store: each receiver's operations under way run, or do not. */
  cut(node: SimNode): void {
    if (!node.isUp || node.store?.isAvailable() !== true) return;
    this.#fault(`cut ${node.name} off the store`);
    node.store.cut(this.someRunLate());
  }

  reconnect(node: SimNode): void {
    if (!node.isUp || node.store === null || node.store.isAvailable()) return;
    this.#fault(`${node.name} reaches the store`);
    node.store.reconnect();
  }

  hold(node: SimNode, reading: 'inbox' | 'log'): void {
    if (!node.isUp) return;
    this.#fault(`hold the ${reading} of ${node.name}`);
    node.store?.hold(reading);
  }

  unhold(node: SimNode, reading: 'inbox' | 'log'): void {
    if (!node.isUp) return;
    this.#fault(`unhold the ${reading} of ${node.name}`);
    node.store?.unhold(reading);
  }

  pause(): void {
    this.#fault('pause the store');
    this.isPaused = true;
    this.store.world.pause();
  }

  resume(): void {
    if (!this.isPaused) return;
    this.#fault('resume the store');
    this.isPaused = false;
    this.store.world.resume();
  }

  stand(lane: number, forMs: number): void {
    this.#fault(`lane ${lane} stands for ${forMs} ms`);
    this.store.stand(lane, forMs);
    this.time.post(forMs, () => this.faultsMs.push(this.time.nowMs));
  }

  /** What the node tells the store arrives so much later than what others do: no fault, a long line. */
  slow(node: SimNode, ms: number): void {
    this.note(`what ${node.name} sends to the store takes ${ms} ms`);
    this.store.slow(node.process, ms);
  }

  loseTail(batches: number): void {
    // Who stands still cannot send anything again when its connection is made anew.
    for (const { process } of this.nodes) process.letsGo = false;
    const fromMs = this.store.loseTail(batches);
    this.losses.push({ fromMs, atMs: this.time.nowMs, at: this.history.next() });
    this.#fault(`lose the last ${batches} batches, ${(this.time.nowMs - fromMs).toFixed(1)} ms`);
  }

  /** The operations of a receiver run all, or none: what a connection had sent arrives in order. */
  someRunLate(): (operation: Operation) => boolean {
    const runs = new Map<string, boolean>();
    return ({ receiver }) => {
      let isRun = runs.get(receiver);
      if (isRun === undefined) {
        isRun = this.random.below(2) === 0;
        runs.set(receiver, isRun);
      }
      return isRun;
    };
  }

  /** Ends what runs outside of the virtual time. */
  async close(): Promise<void> {
    for (const node of this.nodes) node.close();
    this.store.process.isDead = true;
    await this.time.rest();
  }

  #logger(name: string): Logger {
    const tell = (level: string) => (fields: object, sentence?: string) => {
      if (level === 'error' && isFault(fields, sentence ?? '')) {
        this.errors.push(`${name}: ${sentence} ${String((fields as { err?: unknown }).err ?? '')}`);
        this.#trace(`${name} ERROR ${sentence} ${describe(fields)}`);
      } else if (this.#isVerbose) {
        this.#trace(`${name} ${level}: ${sentence} ${describe(fields)}`);
      }
    };
    const logger: Logger = {
      ...{
        trace: () => {},
        debug: tell('debug'),
        info: tell('info'),
        warn: tell('warn'),
        error: tell('error'),
      },
      child: () => logger,
      isLevelEnabled: () => true,
    };
    return logger;
  }
}

/** Errors that a fault explains: the rest are faults of the code. */
function isFault(fields: object, sentence: string): boolean {
  if (/declared dead|cannot be read: this node does not renew/.test(sentence)) return false;
  const { err } = fields as { err?: { code?: string } };
  return err?.code !== 'SWARMQ_ERR_STORE_CLOSED';
}

function describe(fields: object): string {
  const { err, ...rest } = fields as { err?: unknown };
  const text = Object.keys(rest).length > 0 ? JSON.stringify(rest) : '';
  return err === undefined ? text : `${text} ${err instanceof Error ? err.stack : String(err)}`;
}
