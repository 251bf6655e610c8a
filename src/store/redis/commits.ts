// Group commit. Every operation stands in its receiver's list; every master has one lane, and a lane has one batch under
// way: what is submitted meanwhile forms the next one. A batch is one write of a few script calls that take many
// operations each, with WAIT behind them where the durability asks for it; nothing is complete before that has counted
// enough. Only this file repeats: a call that was cut off or refused for a passing reason leaves its operations at the
// head of their lists, and goes to whichever master the slot map names then.

import { SwarmqError } from '../../util/errors.ts';
import type { EnqueueOperation, Operation } from '../operations.ts';
import { BatchBuilder } from './batch-builder.ts';
import {
  AnsweredOperation,
  type Call,
  ControlOperation,
  NONE_STAYING,
  type OnAnswer,
  type Settled,
} from './call.ts';
import type { Keyspace } from './keyspace.ts';
import { Lane } from './lane.ts';
import type { RedisStoreOptions } from './options.ts';
import { ReceiverList } from './receiver-list.ts';
import { slotOfReceiver } from './receiver-slot.ts';
import type { Reply } from './resp.ts';
import type { RetainedSizes } from './retained-call.ts';
import type { WriteCall } from './script.ts';
import type { Master, Topology } from './topology.ts';

/** Lists without operations that are kept for their keys. */
const IDLE_LISTS = 8192;

/** Before a list is asked again: memory is full, a passing refusal, an operation that said againLater. */
const PAUSES_MS = { memory: 200, passing: 25, lagging: 2 } as const;

export class Commits {
  readonly #options: RedisStoreOptions;
  readonly #topology: Topology;
  readonly #builder: BatchBuilder;
  readonly #lists = new Map<string, ReceiverList>();
  readonly #lanes = new Map<Master, Lane>();
  #isClosed = false;
  #lastBody: Buffer | null = null;
  #lastList: ReceiverList | null = null;
  /** Lists that no master serves at the moment. */
  #stranded = new Set<ReceiverList>();

  constructor(options: RedisStoreOptions, topology: Topology, keyspace: Keyspace, sizes: RetainedSizes) {
    this.#options = options;
    this.#topology = topology;
    const { limits, durability, clock } = options;
    const isWritten = durability.level === 'written';
    this.#builder = new BatchBuilder(keyspace, limits, sizes, topology.isCluster, isWritten, clock);
  }

  submit(operation: Operation): void {
    if (this.#isClosed) {
      fail(operation);
      return;
    }
    const list = this.#listOf(operation.receiver);
    if (operation.kind === 'enqueue') {
      const body = (operation as EnqueueOperation).body;
      if (body === this.#lastBody) this.#builder.looksForShared = true;
      this.#lastBody = body;
    }
    list.operations.push(operation);
    // The lane of a master that left the Cluster is gone; the list is counted where it goes next.
    const lane = list.master && this.#lanes.get(list.master);
    if (lane) lane.pending++;
    if (!operation.isPatient) this.#hurry(list);
    if (!list.isUnderWay && !list.isReady) this.#makeReady(list, false);
  }

  hurry(operation: Operation): void {
    operation.isPatient = false;
    const list = this.#lists.get(operation.receiver);
    if (list?.operations.includes(operation)) this.#hurry(list);
  }

  #hurry(list: ReceiverList): void {
    if (list.isUrgent) return;
    list.isUrgent = true;
    if (list.isReady && list.master) this.#lanes.get(list.master)?.hurry(list);
  }

  #listOf(receiver: string): ReceiverList {
    // Messages come in bursts to the same receiver.
    if (this.#lastList?.receiver === receiver) return this.#lastList;
    let list = this.#lists.get(receiver);
    if (list === undefined) {
      list = new ReceiverList(receiver, slotOfReceiver(receiver));
      this.#lists.set(receiver, list);
    }
    this.#lastList = list;
    return list;
  }

  /** Runs a script of its own behind what the receiver has in line. */
  call(receiver: string, write: WriteCall): Promise<Reply> {
    return this.ask((onAnswer) => new ControlOperation(receiver, write, onAnswer));
  }

  /** Resolves with the reply to an operation that is told it. Rejects with SWARMQ_ERR_STORE_REPLY or _CLOSED. */
  ask(make: (onAnswer: OnAnswer) => AnsweredOperation): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.submit(
        make((error, reply) => {
          if (error) reject(error);
          else resolve(reply);
        }),
      );
    });
  }

  pendingOf(master: Master | undefined): number {
    return (master && this.#lanes.get(master)?.pending) ?? 0;
  }

  /** Puts a list in its lane's line; `atHead` for one that is repeated. */
  #makeReady(list: ReceiverList, atHead: boolean): void {
    const master = this.#topology.masterOf(list.slot);
    if (list.master !== master) this.#moveTo(list, master);
    if (master === undefined) {
      this.#stranded.add(list);
      return;
    }
    list.isReady = true;
    this.#lanes.get(master)!.push(list, atHead);
  }

  #moveTo(list: ReceiverList, master: Master | undefined): void {
    const before = list.master && this.#lanes.get(list.master);
    if (before) before.pending -= list.operations.length;
    list.master = master;
    if (!master) return;
    let lane = this.#lanes.get(master);
    if (!lane) {
      lane = new Lane(master, this.#options, this.#topology, this.#builder, {
        onRepeat: (call, isAtOnce) => this.#repeat(call, isAtOnce),
        onSettled: (calls, replies) => this.#settle(calls, replies),
      });
      this.#lanes.set(master, lane);
    }
    lane.pending += list.operations.length;
  }

  /** A master's connection stands (again). */
  masterReady(master: Master): void {
    this.#lanes.get(master)?.wake();
  }

  /** Slots have other masters: what is in line goes there. */
  moved(): void {
    const stranded = this.#stranded;
    this.#stranded = new Set();
    const masters = new Set(this.#topology.masters);
    for (const [master, lane] of this.#lanes) {
      for (const list of lane.takeAll()) {
        list.isReady = false;
        stranded.add(list);
      }
      if (masters.has(master) || lane.isBusy) continue;
      lane.close();
      this.#lanes.delete(master);
    }
    for (const list of stranded) this.#makeReady(list, false);
  }

  #settle(calls: readonly Call[], replies: readonly Reply[]): void {
    const settled: Settled[] = [];
    for (const [index, call] of calls.entries()) settled.push(...call.settle(replies[index] as Reply));
    const waiting: ReceiverList[] = [];
    const lagging: ReceiverList[] = [];
    for (const { list, count, staying, isMemoryFull } of settled) {
      const kept = this.#complete(list, count, staying);
      if (this.#isClosed) return;
      // Submitted meanwhile, also by complete(), are behind `count`.
      list.settle(count, kept);
      const lane = list.master && this.#lanes.get(list.master);
      if (lane) lane.pending -= count - kept.length;
      if (isMemoryFull) waiting.push(list);
      else if (kept.some((operation) => operation.againLater)) lagging.push(list);
      else this.#free(list);
    }
    // Memory is full: these stay, and are asked again a little later.
    if (waiting.length > 0) this.#later(waiting, 'memory');
    if (lagging.length > 0) this.#later(lagging, 'lagging');
  }

  /** Completes what a call took from a list; answers what of it must run (again), in order. */
  #complete(list: ReceiverList, count: number, staying: readonly Operation[]): readonly Operation[] {
    let kept: Operation[] | null = null;
    for (let at = 0; at < count; at++) {
      const operation = list.operations[at] as Operation;
      if (staying.length > 0 && staying.includes(operation)) {
        kept ??= [];
        kept.push(operation);
        continue;
      }
      operation.complete();
      if (this.#isClosed) return NONE_STAYING;
      if (operation.again) {
        operation.again = false;
        kept ??= [];
        kept.push(operation);
      }
    }
    this.#options.counters.operations += count - (kept?.length ?? 0);
    return kept ?? NONE_STAYING;
  }

  #free(list: ReceiverList): void {
    list.isUnderWay = false;
    if (list.operations.length > 0) this.#makeReady(list, false);
    else if (this.#lists.size > IDLE_LISTS) this.#drop(list);
  }

  #drop(list: ReceiverList): void {
    this.#lists.delete(list.receiver);
    if (this.#lastList === list) this.#lastList = null;
  }

  #repeat(call: Call, isAtOnce: boolean): void {
    this.#options.counters.repetitions++;
    if (isAtOnce) {
      this.#again(call.lists);
      return;
    }
    for (const list of call.lists) list.noteRepetition();
    this.#later(call.lists, 'passing');
  }

  #later(lists: readonly ReceiverList[], reason: keyof typeof PAUSES_MS): void {
    this.#options.clock.after(PAUSES_MS[reason], () => this.#again(lists));
  }

  #again(lists: readonly ReceiverList[]): void {
    if (this.#isClosed) return;
    for (const list of lists) {
      const dropped = list.dropUnwanted();
      const lane = list.master && this.#lanes.get(list.master);
      if (lane) lane.pending -= dropped;
      list.isUnderWay = false;
      if (list.operations.length > 0) this.#makeReady(list, true);
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const lane of this.#lanes.values()) lane.close();
    const lists = [...this.#lists.values()];
    this.#lists.clear();
    this.#lanes.clear();
    for (const list of lists) for (const operation of list.operations) fail(operation);
  }
}

function fail(operation: Operation): void {
  operation.failed = true;
  if (operation instanceof AnsweredOperation) {
    operation.error = new SwarmqError('SWARMQ_ERR_STORE_CLOSED', 'no answer came before');
  }
  operation.complete();
}
