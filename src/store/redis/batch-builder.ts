// Makes the calls of one batch from the lists in a lane's line. A batch is bounded by what it costs Redis and by bytes, so
// that a large fan-out is spread over several and others' operations go between.

import type { Clock } from '../../util/clock.ts';
import type { StoreLimits } from '../limits.ts';
import { type Call, ControlCall, type ControlOperation } from './call.ts';
import { ClaimCall, type ClaimOperation } from './claim-call.ts';
import { InboxCall } from './inbox-call.ts';
import { type Keyspace, shardOf } from './keyspace.ts';
import { PayloadCall } from './payload-call.ts';
import type { ReceiverList } from './receiver-list.ts';
import { RetainedCall, type RetainedSizes } from './retained-call.ts';
import { SessionCall, type SessionCallOptions } from './session-call.ts';

/** About 150 enqueues to as many sessions, or 1,700 to fifty. */
export const COST_OF_BATCH = 2560;
export const BYTES_OF_BATCH = 4 << 20;

export class BatchBuilder {
  readonly #keyspace: Keyspace;
  readonly #limits: StoreLimits;
  readonly #sizes: RetainedSizes;
  readonly #isCluster: boolean;
  readonly #sessionCalls: SessionCallOptions;
  /** Set when two messages with the same body came one after the other: worth looking for shared bodies. */
  looksForShared = false;

  #calls: Call[] = [];
  #cost = 0;
  #bytes = 0;
  /** Open calls by slot; a single one (slot -1) where all keys have one server. */
  #sessions = new Map<number, SessionCall>();
  #claims = new Map<number, ClaimCall>();
  #payloads = new Map<number, PayloadCall>();
  #retained = new Map<number, RetainedCall>();

  constructor(
    keyspace: Keyspace,
    limits: StoreLimits,
    sizes: RetainedSizes,
    isCluster: boolean,
    pushesMarked: boolean,
    clock: Clock,
  ) {
    this.#keyspace = keyspace;
    this.#limits = limits;
    this.#sizes = sizes;
    this.#isCluster = isCluster;
    this.#sessionCalls = { keyspace, limits, clock, pushes: !isCluster, pushesMarked };
  }

  /** Takes lists by `take(share of the batch that is full)` until that answers undefined or the batch is full. */
  build(take: (share: number) => ReceiverList | undefined): Call[] {
    this.#calls = [];
    this.#cost = 0;
    this.#bytes = 0;
    for (;;) {
      if (this.#bytes > BYTES_OF_BATCH || this.#cost > COST_OF_BATCH) break;
      const list = take(this.#cost / COST_OF_BATCH);
      if (list === undefined) break;
      list.isReady = false;
      list.isUnderWay = true;
      this.#add(list);
    }
    const calls = this.#calls;
    // Not cleared: what a map has held before clear() hangs together for V8, from an old batch to all later ones, and
    // would be kept from the collector of the young.
    if (this.#sessions.size > 0) this.#sessions = new Map();
    if (this.#claims.size > 0) this.#claims = new Map();
    if (this.#payloads.size > 0) this.#payloads = new Map();
    if (this.#retained.size > 0) this.#retained = new Map();
    this.#calls = [];
    this.looksForShared = false;
    return calls;
  }

  #add(list: ReceiverList): void {
    const operation = list.operations[0]!;
    switch (operation.kind) {
      case 'control':
        list.seal(1);
        this.#calls.push(new ControlCall(list, operation as ControlOperation));
        this.#cost += 8;
        return;
      case 'claim':
        this.#addClaim(list, operation as ClaimOperation);
        return;
      case 'inbox': {
        const call = new InboxCall(list, this.#keyspace, this.#limits.maxInboxBytes);
        this.#calls.push(call);
        this.#cost += 8;
        return;
      }
      case 'retain':
        this.#addRetained(list);
        return;
      case 'store-payload':
      case 'finish-payload':
        this.#addPayload(list);
        return;
      default:
        this.#addSession(list);
    }
  }

  #addSession(list: ReceiverList): void {
    const place = this.#isCluster ? list.slot : -1;
    let call = this.#sessions.get(place);
    if (call === undefined || call.isFull) {
      call = new SessionCall(list.slot, this.#sessionCalls, this.looksForShared);
      this.#sessions.set(place, call);
      this.#calls.push(call);
    }
    const { cost, bytes } = call;
    call.add(list);
    this.#cost += call.cost - cost;
    this.#bytes += call.bytes - bytes;
  }

  #addClaim(list: ReceiverList, operation: ClaimOperation): void {
    const place = this.#isCluster ? list.slot : -1;
    let call = this.#claims.get(place);
    if (call === undefined || !call.takes(operation)) {
      call = new ClaimCall(list.slot, this.#keyspace);
      this.#claims.set(place, call);
      this.#calls.push(call);
    }
    call.add(list, operation);
    this.#cost += 8;
  }

  #addRetained(list: ReceiverList): void {
    const shard = shardOf(list.receiver.slice(1));
    let call = this.#retained.get(shard);
    if (call === undefined || call.isFull) {
      call = new RetainedCall(list.slot, shard, this.#keyspace, this.#limits, this.#sizes);
      this.#retained.set(shard, call);
      this.#calls.push(call);
    }
    const { bytes } = call;
    call.add(list);
    this.#cost += 6;
    this.#bytes += call.bytes - bytes;
  }

  #addPayload(list: ReceiverList): void {
    const place = this.#isCluster ? list.slot : -1;
    let call = this.#payloads.get(place);
    if (call === undefined || call.isFull) {
      call = new PayloadCall(list.slot, this.#keyspace);
      this.#payloads.set(place, call);
      this.#calls.push(call);
    }
    const { bytes, cost } = call;
    call.add(list);
    this.#cost += call.cost - cost;
    this.#bytes += call.bytes - bytes;
  }
}
