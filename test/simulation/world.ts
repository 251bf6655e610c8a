// The cluster of a simulation: one MemoryWorld that remembers when each of its batches was written, a scheduler that
// gives every message between node and store a delay by chance, and the nodes that stand on it. Lines of the scheduler
// keep their order, as a connection does; the lines of different receivers do not wait for each other.

import { compileConfig } from '../../src/config/compile.ts';
import { MemoryImage } from '../../src/store/embedded/memory-image.ts';
import { MemoryWorld, type WorldScheduler } from '../../src/store/embedded/memory-world.ts';
import type { Ticket } from '../../src/store/embedded/ticket.ts';
import type { Batch } from '../../src/store/embedded/write-set.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import type { Random } from '../../src/util/random.ts';
import { Process, type VirtualTime } from './virtual-time.ts';

const compiled = compileConfig({ data: { memory: true }, admin: { port: 'off' }, log: { level: 'silent' } });

/** Small limits, so that windows fill, payloads are shared and pages end within a few messages. */
export const CONFIG = {
  ...compiled,
  limits: {
    ...compiled.limits,
    maxInflightMessages: 8,
    minSharedReceivers: 3,
    minSharedBytes: 300,
    maxRetainedPage: 2,
    maxPullBytes: 600,
  },
  cluster: { ...compiled.cluster, sweepEveryMs: 1000, reconcileEveryMs: 5000 },
};
export const LEASE_MS = CONFIG.cluster.leaseMs;

const STORE_LIMITS: StoreLimits = {
  maxQueuedMessages: 100_000,
  maxQueuedBytes: 1e8,
  queueFullPolicy: 'drop-oldest',
  windowMax: CONFIG.limits.maxInflightMessages,
  maxRetainedMessages: 100_000,
  maxRetainedBytes: 1e8,
  maxInboxBytes: 1e7,
  markLifeMs: 86_400_000,
};

/** Remembers when each batch was written: a lost tail is a time from which on nothing is certain. */
class TimedImage extends MemoryImage {
  readonly times: number[] = [];
  readonly #time: VirtualTime;

  constructor(time: VirtualTime) {
    super();
    this.#time = time;
  }

  override write(batch: Batch, done: (error: Error | null) => void): void {
    this.times.push(this.#time.nowMs);
    super.write(batch, done);
  }
}

/** Tells the scheduler which way a message goes: to the store or back. */
class SimWorld extends MemoryWorld {
  isEntering = false;

  override enter(ticket: Ticket): void {
    this.isEntering = true;
    super.enter(ticket);
    this.isEntering = false;
  }
}

const TO_STORE_MS = 1.5;
const BACK_MS = 1.5;
const READER_MS = 3;
/** One in so many messages is late. */
const LATE_ONE_IN = 60;
const LATE_MS_MAX = 40;

/** Lane 0 has leases, log and inboxes; sessions, retained topics and payloads are spread over the others. */
export const LANES = 3;

export class SimStore implements WorldScheduler {
  readonly world: SimWorld;
  readonly image: TimedImage;
  /** Processes by the label of their connection. */
  readonly homes = new Map<string, Process>();
  readonly process: Process;
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #lastMs = new Map<string, number>();
  /** Until when nothing reaches a lane: as where one master of a Redis Cluster stands still. */
  readonly #standsUntilMs = new Array<number>(LANES).fill(0);
  /** What such a process sends takes so much longer. */
  readonly #slowMs = new Map<Process, number>();

  constructor(time: VirtualTime, random: Random, limits: Partial<StoreLimits> = {}) {
    this.#time = time;
    this.#random = random;
    this.process = new Process(time);
    this.image = new TimedImage(time);
    this.world = new SimWorld({
      clock: this.process,
      limits: { ...STORE_LIMITS, ...limits },
      journal: this.image,
      scheduler: this,
    });
    // Never closed: the world goes on when all nodes have stopped.
    this.world.connect();
  }

  /** A connection for a new process. The world counts them from 1; the first one is this object's own. */
  connect(home: Process): ReturnType<MemoryWorld['connect']> {
    const store = this.world.connect();
    this.homes.set(`node${this.homes.size + 2}`, home);
    return store;
  }

  post(line: string, run: () => void): void {
    const { isEntering } = this.world;
    const label = line.slice(0, line.indexOf(' '));
    const home = this.homes.get(label) ?? null;
    const isReading = line.endsWith(' inbox') || line.endsWith(' log');
    const mostMs = isEntering ? TO_STORE_MS : isReading ? READER_MS : BACK_MS;
    const key = isEntering ? `>${line}` : line;
    const freeMs = isEntering ? this.#standsUntilMs[laneOf(line.slice(label.length + 1))]! : 0;
    const slowMs = isEntering && home !== null ? (this.#slowMs.get(home) ?? 0) : 0;
    const ownMs = this.#time.nowMs + slowMs + this.#delayMs(mostMs);
    const atMs = Math.max(this.#lastMs.get(key) ?? 0, freeMs, ownMs);
    this.#lastMs.set(key, atMs);
    this.#time.post(atMs - this.#time.nowMs, run, home, isEntering ? 'sent' : 'home');
  }

  /** Nothing that is sent from now on reaches a lane for so long. */
  stand(lane: number, forMs: number): void {
    this.#standsUntilMs[lane] = this.#time.nowMs + forMs;
  }

  /** Whatever this process sends from now on reaches the store so much later. */
  slow(home: Process, ms: number): void {
    this.#slowMs.set(home, ms);
  }

  /** Loses the last `batches` batches; answers since when nothing is certain. */
  loseTail(batches: number): number {
    const { times } = this.image;
    const first = times[Math.max(0, times.length - batches)] ?? this.#time.nowMs;
    times.length = Math.max(0, times.length - batches);
    this.world.loseTail(batches);
    return first;
  }

  #delayMs(mostMs: number): number {
    const random = this.#random;
    const most = random.below(LATE_ONE_IN) === 0 ? LATE_MS_MAX : mostMs;
    return (random.below(1000) * most) / 1000;
  }
}

export function laneOf(receiver: string): number {
  if (!/^[srp]/.test(receiver)) return 0;
  let hash = 0;
  for (let at = 0; at < receiver.length; at++) hash = (hash * 31 + receiver.charCodeAt(at)) >>> 0;
  return 1 + (hash % (LANES - 1));
}
