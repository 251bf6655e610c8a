// The lane of one master: the line of lists that have something to send, and the one batch of it under way. What goes to
// very many has a line of its own, beside which the other goes on: of that two small batches may be under way, so that the
// master need not wait for us in between. A list is in one call at most, which is what order rests on. A batch is complete when every reply has come and, where the durability asks for
// it, WAIT or WAITAOF on the same connection has counted enough; until then it is asked again. What failed goes back to
// whoever owns the lists.

import type { CompiledDurability } from '../../config/compile.ts';
import type { Clock, Timer } from '../../util/clock.ts';
import type { BatchBuilder } from './batch-builder.ts';
import type { Call } from './call.ts';
import type { RedisStoreOptions } from './options.ts';
import { Pace } from './pace.ts';
import type { ReceiverList } from './receiver-list.ts';
import { classifyRefusal, isSlotOnTheMove } from './refusal.ts';
import { asList, asNumber, CommandWriter, encodeCommand, type Reply } from './resp.ts';
import type { Master, Topology } from './topology.ts';

/** A batch that is under way for longer means that the master does not answer, which the operator must see. */
const STALL_MS = 3000;
/** Before WAIT or WAITAOF is asked again that was refused. */
const REFUSED_WAIT_MS = 100;
/** Lists in line from which the next batch does not wait for what the last one causes; of the bulk: two batches. */
const LONG_LINE = 128;
const LONG_BULK_LINE = 32;
/** How much of a full batch one of the bulk is: about 15 lists, a quarter of a millisecond of Redis. */
const BULK_SHARE = 0.1;
/** Who comes back within so many batches waits for each: a QoS 2 message on its way asks for its sessions in turn. */
const PROMPT_BATCHES = 4;

export interface LaneEvents {
  /** These calls succeeded. */
  onSettled(calls: readonly Call[], replies: readonly Reply[]): void;
  /** The call must be sent again, at once or a little later. */
  onRepeat(call: Call, isAtOnce: boolean): void;
}

/** Lists in the order of their coming, and how many batches of them are under way. */
class ListLine {
  readonly isBulk: boolean;
  readonly pace: Pace;
  #lists: ReceiverList[] = [];
  /** The first list; those before it have been taken. */
  #at = 0;
  /** Those whose results are being told included. */
  underWay = 0;
  /** Somebody waits for what stands in it. */
  #isUrgent = false;
  /** Somebody who was answered a moment ago. */
  #isPrompt = false;
  #batches = 0;

  /** `begin` is called when the next batch of it is to begin. */
  constructor(isBulk: boolean, clock: Clock, begin: (line: ListLine) => void) {
    this.isBulk = isBulk;
    this.pace = new Pace(clock, !isBulk, () => begin(this));
  }

  get length(): number {
    return this.#lists.length - this.#at;
  }

  get isLong(): boolean {
    return this.length > (this.isBulk ? LONG_BULK_LINE : LONG_LINE);
  }

  get maySend(): boolean {
    return this.length > 0 && this.underWay < (this.isBulk && this.isLong ? 2 : 1);
  }

  /** Also what nobody waits for is not to pile up. */
  get isUrgent(): boolean {
    return this.#isUrgent || this.isLong;
  }

  get isPrompt(): boolean {
    return this.#isPrompt;
  }

  /** Somebody waits for this list, which stands in it. */
  noteUrgent(list: ReceiverList): void {
    this.#isUrgent = true;
    if (this.#batches - list.batch < PROMPT_BATCHES) this.#isPrompt = true;
  }

  noteBegin(nowMs: number, lists: number): void {
    this.#batches++;
    this.pace.noteBegin(nowMs, lists);
  }

  push(list: ReceiverList, atHead: boolean): void {
    if (list.isUrgent) this.noteUrgent(list);
    if (!atHead) this.#lists.push(list);
    else if (this.#at > 0) this.#lists[--this.#at] = list;
    else this.#lists.unshift(list);
  }

  take(): ReceiverList | undefined {
    const list = this.#lists[this.#at++];
    if (list) list.batch = this.#batches;
    if (this.#at >= this.#lists.length) {
      this.#clear();
    }
    return list;
  }

  takeAll(): ReceiverList[] {
    const lists = this.#lists.slice(this.#at);
    this.#clear();
    return lists;
  }

  #clear(): void {
    this.#lists = [];
    this.#at = 0;
    this.#isUrgent = false;
    this.#isPrompt = false;
  }
}

export class Lane {
  readonly #master: Master;
  readonly #options: RedisStoreOptions;
  readonly #topology: Topology;
  readonly #builder: BatchBuilder;
  readonly #events: LaneEvents;
  readonly #writer = new CommandWriter();
  readonly #wait: Buffer | null;
  readonly #line: ListLine;
  /** Lists that begin with one of very many operations of one message: others do not wait for them. */
  readonly #bulk: ListLine;
  #isClosed = false;
  #stallTimer: Timer;
  #busySince = 0;
  /** Since when every call was refused that anybody still waits for, and how the last one was. */
  #refusedSince: number | null = null;
  #refusal = '';
  #shortWaits = 0;
  #pending = 0;

  constructor(
    master: Master,
    options: RedisStoreOptions,
    topology: Topology,
    builder: BatchBuilder,
    events: LaneEvents,
  ) {
    this.#master = master;
    this.#options = options;
    this.#topology = topology;
    this.#builder = builder;
    this.#events = events;
    this.#wait = encodeWait(options.durability);
    const send = (line: ListLine) => this.#send(line);
    this.#line = new ListLine(false, options.clock, send);
    this.#bulk = new ListLine(true, options.clock, send);
    this.#stallTimer = options.clock.every(STALL_MS / 3, () => this.#watch());
  }

  /** Operations of this lane that are not complete. */
  get pending(): number {
    return this.#pending;
  }

  set pending(count: number) {
    this.#pending = count;
    // What was refused nobody waits for any more.
    if (count === 0 && this.#refusedSince !== null) this.#noteAccepted();
  }

  get isBusy(): boolean {
    return this.#line.underWay > 0 || this.#bulk.underWay > 0;
  }

  push(list: ReceiverList, atHead: boolean): void {
    this.#lineOf(list).push(list, atHead);
    this.wake();
  }

  /** A list that stands in line has got something that somebody waits for. */
  hurry(list: ReceiverList): void {
    this.#lineOf(list).noteUrgent(list);
    this.wake();
  }

  #lineOf(list: ReceiverList): ListLine {
    return list.operations[0]?.isBulk ? this.#bulk : this.#line;
  }

  /** Takes the whole line out. */
  takeAll(): ReceiverList[] {
    return [...this.#line.takeAll(), ...this.#bulk.takeAll()];
  }

  /** Has the next batch begin, if one may be sent. */
  wake(): void {
    if (this.#isClosed || !this.#master.isFit || !this.#master.lane.isReady) return;
    if (this.#line.maySend) this.#line.pace.set(this.#line.isUrgent, this.#line.isPrompt);
    if (this.#bulk.maySend) this.#bulk.pace.set(this.#bulk.isUrgent, this.#bulk.isPrompt);
  }

  close(): void {
    this.#isClosed = true;
    this.#line.pace.close();
    this.#bulk.pace.close();
    this.#stallTimer.cancel();
  }

  #send(line: ListLine): void {
    const { lane } = this.#master;
    if (!line.maySend || this.#isClosed || !lane.isReady) return;
    const most = line.isBulk ? BULK_SHARE : 1;
    const before = line.length;
    const calls = this.#builder.build((share) => (share < most ? line.take() : undefined));
    const sentMs = this.#options.clock.monotonicMs();
    line.noteBegin(sentMs, before - line.length);
    if (!this.isBusy) this.#busySince = sentMs;
    line.underWay++;
    for (const call of calls) call.write(this.#writer, lane.history);
    if (this.#wait) this.#writer.encoded(this.#wait);
    const { counters } = this.#options;
    counters.batches++;
    counters.calls += calls.length;
    lane.run(this.#writer.take(), (replies) => {
      if (this.#wait) this.#judgeWait(line, sentMs, calls, replies, replies[calls.length] as Reply);
      else this.#finish(line, sentMs, calls, replies);
    });
    this.wake();
  }

  /** Nothing completes before WAIT has counted enough; a cut connection means that everything is sent again. */
  #judgeWait(
    line: ListLine,
    sentMs: number,
    calls: readonly Call[],
    replies: readonly Reply[],
    answer: Reply,
  ): void {
    if (this.#isClosed) return;
    if (answer instanceof Error) {
      if (isOnlyWaitRefused(calls, replies, answer)) {
        this.#askLater(line, sentMs, calls, replies, answer);
        return;
      }
      const failed = calls.map((_call, index) =>
        replies[index] instanceof Error ? replies[index]! : answer,
      );
      this.#finish(line, sentMs, calls, failed);
      return;
    }
    if (countsEnough(this.#options.durability, answer)) {
      this.#shortWaits = 0;
      this.#finish(line, sentMs, calls, replies);
      return;
    }
    this.#shortWaits++;
    this.#options.counters.shortWaits++;
    this.#askAgain(line, sentMs, calls, replies);
  }

  /** Asks for the same writes once more, on the connection that they went by. */
  #askAgain(line: ListLine, sentMs: number, calls: readonly Call[], replies: readonly Reply[]): void {
    this.#master.lane.run([this.#wait!], ([again]) =>
      this.#judgeWait(line, sentMs, calls, replies, again as Reply),
    );
  }

  /**
   * The scripts have run and what waits for their writes is refused: asked again on the same connection, since each other
   * run would queue the messages once more. Another connection knows nothing of these writes: then everything is repeated.
   */
  #askLater(
    line: ListLine,
    sentMs: number,
    calls: readonly Call[],
    replies: readonly Reply[],
    refusal: Error,
  ): void {
    const { lane } = this.#master;
    const { connection } = lane;
    this.#noteRefused(refusal.message);
    this.#options.clock.after(REFUSED_WAIT_MS, () => {
      if (connection === null || lane.connection !== connection) {
        this.#judgeWait(line, sentMs, calls, replies, new Error('the connection was cut'));
        return;
      }
      this.#askAgain(line, sentMs, calls, replies);
    });
  }

  #finish(line: ListLine, sentMs: number, calls: readonly Call[], replies: readonly Reply[]): void {
    const { counters, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const operationsBefore = counters.operations;
    if (this.#isClosed) return;
    this.#busySince = nowMs;
    let isMissing = false;
    const refused: Error[] = [];
    let moving = 0;
    const settledCalls: Call[] = [];
    const settledReplies: Reply[] = [];
    const failed: Call[] = [];
    for (const [index, call] of calls.entries()) {
      const reply = replies[index] as Reply;
      if (!(reply instanceof Error)) {
        settledCalls.push(call);
        settledReplies.push(reply);
        continue;
      }
      const refusal = classifyRefusal(reply);
      if (refusal === 'no-script') isMissing = true;
      else if (isSlotOnTheMove(reply)) moving++;
      else if (refusal === 'passing' && reply.name === 'ReplyError') refused.push(reply);
      else if (refusal === 'moved') this.#topology.refresh();
      else if (refusal === 'demoted') this.#master.lane.cut(reply.message);
      else if (refusal === 'broken') {
        this.#options.log('error', 'the store refused a call', { reason: reply.message });
        if (call.reject(reply)) {
          settledCalls.push(call);
          settledReplies.push(null);
          continue;
        }
      }
      failed.push(call);
    }
    // A long line goes on at once, so that the master works while the results are told: what is in line now has nothing to
    // do with them. Otherwise busy until they are told, so that what they cause forms the next batch as a whole.
    const isAhead = failed.length === 0 && line.isLong;
    if (isAhead) {
      line.underWay--;
      this.#send(line);
    }
    this.#events.onSettled(settledCalls, settledReplies);
    counters.onBatch(nowMs - sentMs, counters.operations - operationsBefore);
    this.#noteRefusals(calls.length - moving, refused);
    if (isAhead) {
      this.wake();
      return;
    }
    const release = () => {
      line.underWay--;
      for (const call of failed) this.#events.onRepeat(call, isMissing);
      this.wake();
    };
    if (isMissing) this.#topology.loadScripts(this.#master, release);
    else release();
  }

  /** Of the calls of a batch that were not told to wait for the move of a slot, so many were refused. */
  #noteRefusals(calls: number, refused: readonly Error[]): void {
    if (calls === 0 && this.#refusedSince !== null) return;
    if (calls === 0 || refused.length < calls) this.#noteAccepted();
    else this.#noteRefused(refused[0]!.message);
  }

  /** A server that answers, but refuses everything for a while, is as good as away: the operator must see why. */
  #noteRefused(reason: string): void {
    this.#refusedSince ??= this.#options.clock.monotonicMs();
    this.#refusal = reason;
  }

  #noteAccepted(): void {
    this.#refusedSince = null;
    this.#topology.tellStalled(this.#master, '');
  }

  #watch(): void {
    if (this.#refusedSince !== null && this.#master.lane.isReady) {
      if (this.#options.clock.monotonicMs() - this.#refusedSince >= STALL_MS) {
        this.#topology.tellStalled(this.#master, `${this.#master.name} refuses: ${this.#refusal}`);
      }
      return;
    }
    if (!this.isBusy || !this.#master.lane.isReady) {
      this.#topology.tellStalled(this.#master, '');
      return;
    }
    if (this.#options.clock.monotonicMs() - this.#busySince < STALL_MS) return;
    this.#topology.tellStalled(
      this.#master,
      this.#shortWaits > 0
        ? 'too few replicas confirm what is written'
        : `${this.#master.name} does not answer`,
    );
  }
}

function encodeWait({ level, replicas, timeoutMs }: CompiledDurability): Buffer | null {
  if (level === 'replicas') return encodeCommand('WAIT', replicas, timeoutMs);
  if (level === 'fsync') return encodeCommand('WAITAOF', 1, replicas, timeoutMs);
  return null;
}

function isOnlyWaitRefused(calls: readonly Call[], replies: readonly Reply[], answer: Error): boolean {
  if (answer.name !== 'ReplyError' || classifyRefusal(answer) !== 'passing') return false;
  return calls.every((_call, index) => !(replies[index] instanceof Error));
}

function countsEnough({ level, replicas }: CompiledDurability, answer: Reply): boolean {
  if (level === 'replicas') return asNumber(answer) >= replicas;
  const [local, remote] = asList(answer);
  return asNumber(local) >= 1 && asNumber(remote) >= replicas;
}
