// The load of one process: publishers and subscribers, closed loop (a publisher stops at `window` unacknowledged or
// undelivered messages) or open loop at a rate, and the exact account of what became of every message. It measures the
// window between two marks and judges the whole run, warm-up and drain included.

import { Bystander, inLanes, LoadConnection } from './connection.ts';
import type { LoadCounts, LoadJob, LoadReport } from './job.ts';
import { Histogram, ShareTally, StreamTally } from './tally.ts';
import { AckRun, DISCONNECT, nowMicros, PublishRun } from './wire.ts';

/** How late the pacing tick itself may make a message. */
const TICK_SLACK_MICROS = 3000;

/** Connections under way at a time while the load is set up. */
const LANES = 64;
/** What one connection subscribes to of the filters that match nothing, and in how many packets. */
const FILTERS_EACH = 1000;
const FILTERS_PER_PACKET = 100;

const FREE = 0;
const SENT = 1;
const RELEASED = 2;

export class Publisher extends LoadConnection {
  sent = 0;
  acked = 0;
  /** Deliveries settled (arrived or given up), over all subscribers. */
  settled = 0;
  strayAcks = 0;
  isDirty = false;
  /** Messages due by the clock in an open loop; without end in a closed one. */
  due = Number.POSITIVE_INFINITY;
  /** Open loop: when message 0 was due, and the time between two. */
  paceStartMicros = 0;
  paceMicros = 0;
  readonly #load: Load;
  readonly #run: PublishRun;
  readonly #idMask: number;
  readonly #states: Uint8Array;
  readonly #sentMicros: Uint32Array;
  readonly #releases = new AckRun();

  constructor(load: Load, index: number, topic: string) {
    super(`${load.job.name}-p${index}`, load.job);
    this.#load = load;
    const { qos, payloadBytes, window, protocol, isRetained, topicsEach: topics } = load.job;
    const form = { topic, qos, payloadBytes, publisher: index, count: window };
    this.#run = new PublishRun({ ...form, protocol, isRetained, topics });
    // Packet ids go round in a small ring, so that their states stay in the cache.
    const ring = 2 ** Math.ceil(Math.log2(window * 4));
    this.#idMask = Math.min(ring, 32_768) - 1;
    this.#states = new Uint8Array(this.#idMask + 2);
    this.#sentMicros = new Uint32Array(this.#idMask + 2);
  }

  onPublish(): void {
    this.strayAcks++;
  }

  onAck(type: number, packetId: number): void {
    const state = this.#states[packetId];
    if (type === 4 && state === SENT) this.#finish(packetId);
    else if (type === 5 && state === SENT) {
      this.#states[packetId] = RELEASED;
      this.#releases.add(0x62, packetId);
    } else if (type === 7 && state === RELEASED) this.#finish(packetId);
    else this.strayAcks++;
  }

  #finish(packetId: number): void {
    this.#states[packetId] = FREE;
    this.acked++;
    this.#load.ackLatency.add((nowMicros() - this.#sentMicros[packetId]!) >>> 0);
  }

  protected onTick(): void {
    const releases = this.#releases.take();
    if (releases) this.socket!.write(releases);
    this.#load.wake(this);
  }

  protected override onDrain(): void {
    this.#load.wake(this);
  }

  #room(): number {
    const { job } = this.#load;
    const underWay = this.sent - Math.floor(this.settled / job.copies);
    let room = job.window - underWay;
    if (job.qos > 0) room = Math.min(room, job.window - (this.sent - this.acked));
    // An open loop does not wait for subscribers: only acknowledgements bound what is under way.
    if (!this.#load.waitsForSubscribers)
      room = job.qos > 0 ? job.window - (this.sent - this.acked) : job.window;
    return Math.min(room, this.due - this.sent);
  }

  /** Sends as much as there is room for, in one write. */
  pump(): void {
    const socket = this.socket;
    // The row of packets is in use until the kernel has taken all of it.
    if (!socket || socket.writableLength > 0 || this.failure) return;
    const now = nowMicros();
    const { qos } = this.#load.job;
    const room = this.#room();
    let count = 0;
    while (count < room) {
      const packetId = qos > 0 ? (this.sent & this.#idMask) + 1 : 0;
      if (qos > 0) {
        if (this.#states[packetId] !== FREE) break;
        this.#states[packetId] = SENT;
        this.#sentMicros[packetId] = now;
      }
      this.#run.stamp(count++, this.sent, this.#stampMicros(now), packetId);
      this.sent++;
    }
    if (count > 0) socket.write(this.#run.bytes.subarray(0, count * this.#run.packetBytes));
  }

  /** A message that had to wait for room is timed from when it was due, or a stall would hide the waiting behind it. */
  #stampMicros(now: number): number {
    if (this.paceMicros === 0) return now;
    const due = (this.paceStartMicros + this.sent * this.paceMicros) >>> 0;
    return ((now - due) | 0) > TICK_SLACK_MICROS ? due : now;
  }
}

export class Subscriber extends LoadConnection {
  readonly tallies = new Map<number, StreamTally | ShareTally>();
  /** When the first PUBLISH of this connection came. */
  firstMicros: number | undefined;
  readonly #load: Load;
  readonly #acks = new AckRun();
  #lastPublisher = -1;
  #lastTally: StreamTally | ShareTally | undefined;
  #now = 0;

  constructor(load: Load, index: number) {
    super(`${load.job.name}-s${index}`, load.job);
    this.#load = load;
  }

  onPublish(qos: number, packetId: number, publisher: number, seq: number, micros: number): void {
    if (this.#now === 0) this.#now = nowMicros();
    if (publisher !== this.#lastPublisher) this.#select(publisher);
    const settled = this.#lastTally!.add(seq);
    const load = this.#load;
    load.endToEnd.add((this.#now - micros) >>> 0);
    load.received++;
    if (qos === 1) this.#acks.add(0x40, packetId);
    else if (qos === 2) this.#acks.add(0x50, packetId);
    load.settle(publisher, settled);
  }

  #select(publisher: number): void {
    this.#lastPublisher = publisher;
    let tally = this.tallies.get(publisher);
    if (!tally) {
      tally = this.#load.newTally(publisher);
      this.tallies.set(publisher, tally);
    }
    this.#lastTally = tally;
  }

  onAck(type: number, packetId: number): void {
    if (type === 6) this.#acks.add(0x70, packetId);
  }

  protected onTick(): void {
    if (this.#now !== 0) this.firstMicros ??= this.#now;
    this.#now = 0;
    const acks = this.#acks.take();
    if (acks) this.socket!.write(acks);
  }
}

export class Load {
  readonly job: LoadJob;
  readonly endToEnd = new Histogram();
  readonly ackLatency = new Histogram();
  readonly publishers: Publisher[];
  readonly subscribers: Subscriber[];
  received = 0;
  /** Undelivered messages count against the window (closed loop). */
  waitsForSubscribers: boolean;
  readonly #bystanders: Bystander[] = [];
  readonly #shared = new Map<number, StreamTally>();
  readonly #marks: LoadCounts[] = [];
  #dirty: Publisher[] = [];
  #isRunning = false;
  #pacer: NodeJS.Timeout | undefined;
  #histograms: Pick<LoadReport, 'endToEnd' | 'ack'> | undefined;

  constructor(job: LoadJob) {
    this.job = job;
    this.waitsForSubscribers = job.ratePerSecond === undefined;
    this.publishers = job.topics.map((topic, index) => new Publisher(this, index, topic));
    this.subscribers = job.filters.map((_, index) => new Subscriber(this, index));
  }

  /** Connects everybody, subscribers first; those that subscribe late are left out. */
  async connect(): Promise<void> {
    await this.#loadIdleFilters();
    if (!this.job.subscribesLate)
      await inLanes(this.subscribers, LANES, (subscriber, index) => this.openSubscriber(subscriber, index));
    const { publisherPorts } = this.job;
    await inLanes(this.publishers, LANES, (publisher, index) =>
      publisher.open(publisherPorts[index % publisherPorts.length]!, true),
    );
  }

  async openSubscriber(subscriber: Subscriber, index: number): Promise<void> {
    const { subscriberPorts, filters, qos, isClean } = this.job;
    const port = subscriberPorts[index % subscriberPorts.length]!;
    if (!isClean) {
      // A session of an earlier run under this name would bring its messages along.
      await subscriber.open(port, true);
      subscriber.close(DISCONNECT);
    }
    await subscriber.open(port, isClean);
    await subscriber.subscribe([filters[index]!], qos);
  }

  /** Filters beside the topics of the load: a wildcard in the middle, at the end, or both. */
  async #loadIdleFilters(): Promise<void> {
    const { name, idleFilters, subscriberPorts } = this.job;
    const forms = [
      (index: number) => `b/${name}/+/idle${index}`,
      (index: number) => `b/${name}/idle${index}/#`,
      (index: number) => `b/+/idle${index}/+/#`,
    ];
    const filters = Array.from({ length: idleFilters }, (_, index) => forms[index % forms.length]!(index));
    for (let index = 0; index < Math.ceil(filters.length / FILTERS_EACH); index++)
      this.#bystanders.push(new Bystander(`${name}-i${index}`, this.job));
    await inLanes(this.#bystanders, LANES, async (bystander, index) => {
      await bystander.open(subscriberPorts[index % subscriberPorts.length]!, true);
      const own = filters.slice(index * FILTERS_EACH, (index + 1) * FILTERS_EACH);
      for (let start = 0; start < own.length; start += FILTERS_PER_PACKET)
        await bystander.subscribe(own.slice(start, start + FILTERS_PER_PACKET), 0);
    });
  }

  /** The account of publisher number `publisher` for one more subscriber. */
  newTally(publisher: number): StreamTally | ShareTally {
    if (this.job.order !== 'share') return new StreamTally();
    let whole = this.#shared.get(publisher);
    if (!whole) {
      whole = new StreamTally();
      this.#shared.set(publisher, whole);
    }
    return new ShareTally(whole);
  }

  /** Everybody whose connection must not fail. */
  get #connections(): LoadConnection[] {
    return [...this.publishers, ...this.subscribers, ...this.#bystanders];
  }

  start(): void {
    this.#isRunning = true;
    const { ratePerSecond } = this.job;
    if (ratePerSecond !== undefined) this.#pace(ratePerSecond);
    for (const publisher of this.publishers) this.wake(publisher);
  }

  #pace(ratePerSecond: number): void {
    const started = performance.now();
    const share = ratePerSecond / this.publishers.length;
    for (const [index, publisher] of this.publishers.entries()) {
      publisher.paceMicros = 1e6 / share;
      publisher.paceStartMicros = nowMicros() + (1 - index / this.publishers.length) * publisher.paceMicros;
    }
    const tick = () => {
      const seconds = (performance.now() - started) / 1000;
      for (const [index, publisher] of this.publishers.entries()) {
        // Publishers are due one after the other, not all at once.
        publisher.due = Math.floor(seconds * share + index / this.publishers.length);
        if (publisher.due > publisher.sent) this.wake(publisher);
      }
    };
    tick();
    this.#pacer = setInterval(tick, 1);
  }

  /** Lets `publisher` send at the end of this tick. */
  wake(publisher: Publisher): void {
    if (publisher.isDirty || !this.#isRunning) return;
    publisher.isDirty = true;
    this.#dirty.push(publisher);
    if (this.#dirty.length === 1) setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const publisher of dirty) {
      publisher.isDirty = false;
      if (this.#isRunning) publisher.pump();
    }
  };

  settle(index: number, count: number): void {
    const publisher = this.publishers[index];
    if (!publisher) return;
    publisher.settled += count;
    this.wake(publisher);
  }

  /** Writes the counts down; latencies are kept from the first mark to the second. */
  mark(): LoadCounts {
    if (this.#marks.length === 0) {
      this.endToEnd.clear();
      this.ackLatency.clear();
    } else this.#histograms = { endToEnd: this.endToEnd.toPlain(), ack: this.ackLatency.toPlain() };
    const counts = this.#counts();
    this.#marks.push(counts);
    return counts;
  }

  #counts(): LoadCounts {
    let sent = 0;
    let acked = 0;
    for (const publisher of this.publishers) {
      sent += publisher.sent;
      acked += publisher.acked;
    }
    return { micros: nowMicros(), sent, acked, received: this.received };
  }

  /** Stops sending, waits until everything has come in or nothing comes for `quietMs`, and gives the account. */
  async finish(quietMs = 2000): Promise<LoadReport> {
    this.#isRunning = false;
    clearInterval(this.#pacer);
    let last = this.#counts();
    let lastAt = performance.now();
    while (performance.now() - lastAt < quietMs && !this.#isSettled()) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      const counts = this.#counts();
      if (counts.received !== last.received || counts.acked !== last.acked) lastAt = performance.now();
      last = counts;
    }
    const report = this.#report();
    for (const connection of this.#connections) connection.close(DISCONNECT);
    return report;
  }

  #isSettled(): boolean {
    return this.publishers.every(
      ({ sent, acked, settled }) =>
        settled >= sent * this.job.copies && (this.job.qos === 0 || acked === sent),
    );
  }

  #report(): LoadReport {
    const report: LoadReport = {
      marks: this.#marks,
      total: this.#counts(),
      lost: 0,
      doubled: 0,
      late: 0,
      strayAcks: 0,
      failures: [],
      ...(this.#histograms ?? { endToEnd: this.endToEnd.toPlain(), ack: this.ackLatency.toPlain() }),
    };
    for (const connection of this.#connections) {
      if (connection.failure) report.failures.push(`${connection.clientId}: ${connection.failure}`);
    }
    let arrived = 0;
    for (const { tallies } of this.subscribers) {
      for (const tally of tallies.values()) {
        arrived += tally.received;
        report.doubled += tally.doubled;
        if (this.job.order !== 'none') report.late += tally.late;
      }
    }
    for (const publisher of this.publishers) {
      report.strayAcks += publisher.strayAcks;
      report.lost += publisher.sent * this.job.copies;
    }
    report.lost -= arrived;
    return report;
  }
}
