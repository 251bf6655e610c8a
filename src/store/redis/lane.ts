// The lane of one master: the line of lists that have something to send, and the one batch under way. While a message
// goes to very many it is two small ones, so that the master need not wait for us in between; a list is in one call at
// most, which is what order rests on. A batch is complete when every reply has come and, where the durability asks for
// it, WAIT or WAITAOF on the same connection has counted enough; until then it is asked again. What failed goes back to
// whoever owns the lists.

import type { CompiledDurability } from '../../config/compile.ts';
import type { Timer } from '../../util/clock.ts';
import type { BatchBuilder } from './batch-builder.ts';
import type { Call } from './call.ts';
import type { RedisStoreOptions } from './options.ts';
import type { ReceiverList } from './receiver-list.ts';
import { classifyRefusal } from './refusal.ts';
import { asList, asNumber, CommandWriter, encodeCommand, type Reply } from './resp.ts';
import type { Master, Topology } from './topology.ts';

/** A batch that is under way for longer means that the master does not answer, which the operator must see. */
const STALL_MS = 3000;
/** Lists in line from which the next batch does not wait for what the last one causes. */
const LONG_LINE = 128;
/** What lists of one message to very many take of a batch: about 15 of them, a quarter of a millisecond of Redis. */
const BULK_SHARE = 0.1;

export interface LaneEvents {
  /** These calls succeeded. */
  onSettled(calls: readonly Call[], replies: readonly Reply[]): void;
  /** The call must be sent again, at once or a little later. */
  onRepeat(call: Call, isAtOnce: boolean): void;
}

/** Lists in the order of their coming. */
class ListLine {
  #lists: ReceiverList[] = [];
  /** The first list; those before it have been taken. */
  #at = 0;

  get length(): number {
    return this.#lists.length - this.#at;
  }

  push(list: ReceiverList, atHead: boolean): void {
    if (!atHead) this.#lists.push(list);
    else if (this.#at > 0) this.#lists[--this.#at] = list;
    else this.#lists.unshift(list);
  }

  take(): ReceiverList | undefined {
    const list = this.#lists[this.#at++];
    if (this.#at >= this.#lists.length) {
      this.#lists = [];
      this.#at = 0;
    }
    return list;
  }

  takeAll(): ReceiverList[] {
    const lists = this.#lists.slice(this.#at);
    this.#lists = [];
    this.#at = 0;
    return lists;
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
  readonly #line = new ListLine();
  /** Lists that begin with one of very many operations of one message: others go before them. */
  readonly #bulk = new ListLine();
  #bulkUntil = 0;
  /** Batches under way, those whose results are being told included. */
  #underWay = 0;
  #isScheduled = false;
  #isClosed = false;
  #stallTimer: Timer;
  #busySince = 0;
  #shortWaits = 0;
  /** Operations of this lane that are not complete. */
  pending = 0;

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
    this.#stallTimer = options.clock.every(STALL_MS / 3, () => this.#watch());
  }

  get isBusy(): boolean {
    return this.#underWay > 0;
  }

  push(list: ReceiverList, atHead: boolean): void {
    const line = list.operations[0]?.isBulk ? this.#bulk : this.#line;
    line.push(list, atHead);
    this.wake();
  }

  /** Takes the whole line out. */
  takeAll(): ReceiverList[] {
    return [...this.#line.takeAll(), ...this.#bulk.takeAll()];
  }

  /** Sends a batch as soon as the events of this turn of the loop are handled, if one may be sent. */
  wake(): void {
    if (this.#isScheduled || this.#isClosed || this.#underWay >= this.#mostUnderWay) return;
    if (this.#waiting === 0 || !this.#master.isFit || !this.#master.lane.isReady) return;
    this.#isScheduled = true;
    this.#options.clock.soon(() => {
      this.#isScheduled = false;
      this.#send();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#stallTimer.cancel();
  }

  get #mostUnderWay(): number {
    return this.#bulk.length > LONG_LINE ? 2 : 1;
  }

  get #waiting(): number {
    return this.#line.length + this.#bulk.length;
  }

  /**
   * The next list for a batch that is full to `share`. Bulk gets a tenth of a batch behind the others, also where there
   * are none: who comes meanwhile waits for that and for no more.
   */
  #take = (share: number): ReceiverList | undefined => {
    if (share === 0) this.#bulkUntil = BULK_SHARE;
    if (this.#line.length > 0 && (share < 1 - BULK_SHARE || this.#bulk.length === 0)) {
      const list = this.#line.take();
      this.#bulkUntil = share + BULK_SHARE;
      return list;
    }
    return share < this.#bulkUntil ? this.#bulk.take() : undefined;
  };

  #send(): void {
    const { lane } = this.#master;
    if (this.#underWay >= this.#mostUnderWay || this.#isClosed || !lane.isReady) return;
    const calls = this.#builder.build(this.#take);
    if (calls.length === 0) return;
    this.#underWay++;
    const sentMs = this.#options.clock.monotonicMs();
    if (this.#underWay === 1) this.#busySince = sentMs;
    for (const call of calls) call.write(this.#writer, lane.history);
    if (this.#wait) this.#writer.encoded(this.#wait);
    const { counters } = this.#options;
    counters.batches++;
    counters.calls += calls.length;
    lane.run(this.#writer.take(), (replies) => {
      if (this.#wait) this.#judgeWait(sentMs, calls, replies, replies[calls.length] as Reply);
      else this.#finish(sentMs, calls, replies);
    });
    this.wake();
  }

  /** Nothing completes before WAIT has counted enough; a cut connection means that everything is sent again. */
  #judgeWait(sentMs: number, calls: readonly Call[], replies: readonly Reply[], answer: Reply): void {
    if (this.#isClosed) return;
    if (answer instanceof Error) {
      const failed = calls.map((_call, index) =>
        replies[index] instanceof Error ? replies[index]! : answer,
      );
      this.#finish(sentMs, calls, failed);
      return;
    }
    if (countsEnough(this.#options.durability, answer)) {
      this.#shortWaits = 0;
      this.#finish(sentMs, calls, replies);
      return;
    }
    this.#shortWaits++;
    this.#options.counters.shortWaits++;
    this.#master.lane.run([this.#wait!], ([again]) =>
      this.#judgeWait(sentMs, calls, replies, again as Reply),
    );
  }

  #finish(sentMs: number, calls: readonly Call[], replies: readonly Reply[]): void {
    const { counters, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const operationsBefore = counters.operations;
    if (this.#isClosed) return;
    this.#busySince = nowMs;
    let isMissing = false;
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
    const isAhead = failed.length === 0 && this.#waiting > LONG_LINE;
    if (isAhead) {
      this.#underWay--;
      this.#send();
    }
    this.#events.onSettled(settledCalls, settledReplies);
    counters.onBatch(nowMs - sentMs, counters.operations - operationsBefore);
    this.#topology.tellStalled(this.#master, '');
    if (isAhead) {
      this.wake();
      return;
    }
    const release = () => {
      this.#underWay--;
      for (const call of failed) this.#events.onRepeat(call, isMissing);
      this.wake();
    };
    if (isMissing) this.#topology.loadScripts(this.#master, release);
    else release();
  }

  #watch(): void {
    if (this.#underWay === 0 || !this.#master.lane.isReady) {
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

function countsEnough({ level, replicas }: CompiledDurability, answer: Reply): boolean {
  if (level === 'replicas') return asNumber(answer) >= replicas;
  const [local, remote] = asList(answer);
  return asNumber(local) >= 1 && asNumber(remote) >= replicas;
}
