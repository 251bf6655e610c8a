// One call of claim-sessions.lua: the claims of up to 16 sessions. Clients come back in storms, and a call of its own for
// each may cost Redis as much again as the claim itself. A claim carries a token by which the script knows
// a repetition, so that a call may run again as a whole or in parts. Where the store refuses a call for what one of its
// sessions holds, each is asked for alone: only the one at fault is refused then.

import { sessionReceiver } from '../operations.ts';
import { encodeWill } from '../records.ts';
import { type ClaimRequest, SAME_TIME_MS } from '../store.ts';
import { AnsweredOperation, type Call, NONE_STAYING, type OnAnswer, type Settled } from './call.ts';
import { type Keyspace, SESSION_KEYS } from './keyspace.ts';
import type { ReceiverList } from './receiver-list.ts';
import { asList, type CommandWriter, type Reply } from './resp.ts';
import { defineScript } from './script.ts';

/** Behind these, for each session its SESSION_KEYS and what ClaimOperation.write says. */
const CLAIM_SESSIONS = defineScript('claim-sessions', [], ['history']);

/** What a node knows of the store's time: never ahead of it, since it was told it a moment ago. */
export interface StoreTime {
  tell(storeMs: number): void;
  nowMs(): number;
  /** Of the node's own clock. */
  monotonicMs(): number;
}

/** Half a millisecond of Redis. */
const CLAIMS_OF_CALL = 16;
const NO_WILL = Buffer.alloc(0);

export class ClaimOperation extends AnsweredOperation {
  readonly kind = 'claim';
  readonly #request: ClaimRequest;
  readonly #token: string;
  readonly #time: StoreTime;
  /** It was in a call that was refused, for which another may be to blame. */
  isAlone = false;

  constructor(request: ClaimRequest, token: string, time: StoreTime, onAnswer: OnAnswer) {
    super(sessionReceiver(request.clientId), onAnswer);
    this.#request = request;
    this.#token = token;
    this.#time = time;
  }

  writeKeys(writer: CommandWriter, keyspace: Keyspace): void {
    keyspace.writeSession(writer, this.#request.clientId, this.#request.incarnation);
  }

  /**
   * The arguments of its session, made anew each time it is sent. When its CONNECT came is told twice: by the store's time
   * that this node knows, which may be too early, and by how long it has waited, which leaves out the way to the
   * store. Neither makes it seem later, or earlier, than it was.
   */
  write(writer: CommandWriter): void {
    const { clientId, incarnation, cleanStart, expirySec, epochSeen, will, waitedMs, leases } = this.#request;
    const waited = Math.floor(waitedMs());
    writer.ascii(this.#token);
    writer.text(clientId);
    writer.text(incarnation);
    writer.number(cleanStart ? 1 : 0);
    writer.number(expirySec);
    writer.number(epochSeen);
    writer.bytes(will ? encodeWill(will) : NO_WILL);
    writer.number(Math.floor(this.#time.nowMs() - waited));
    writer.number(Math.max(0, waited - SAME_TIME_MS));
    const doubtful = leases.filter(({ state }) => state !== 'live');
    writer.number(doubtful.length);
    for (const lease of doubtful) {
      writer.text(lease.incarnation);
      writer.number(lease.renewedAt);
      writer.ascii(lease.state);
    }
  }
}

export class ClaimCall implements Call {
  readonly lists: ReceiverList[] = [];
  readonly slot: number;
  readonly #keyspace: Keyspace;
  readonly #operations: ClaimOperation[] = [];

  constructor(slot: number, keyspace: Keyspace) {
    this.slot = slot;
    this.#keyspace = keyspace;
  }

  takes(operation: ClaimOperation): boolean {
    const operations = this.#operations;
    return operations.length < CLAIMS_OF_CALL && !operation.isAlone && operations[0]?.isAlone !== true;
  }

  /** `operation` is the first of the list. */
  add(list: ReceiverList, operation: ClaimOperation): void {
    list.seal(1);
    this.lists.push(list);
    this.#operations.push(operation);
  }

  write(writer: CommandWriter, history: string): void {
    CLAIM_SESSIONS.open(writer, this.#operations.length * SESSION_KEYS.length);
    for (const operation of this.#operations) operation.writeKeys(writer, this.#keyspace);
    writer.ascii(history);
    for (const operation of this.#operations) operation.write(writer);
    writer.end();
  }

  settle(reply: Reply): readonly Settled[] {
    // Null where the call was refused, and its operation knows.
    const replies = reply === null ? [null] : asList(reply);
    return this.lists.map((list, index) => {
      (this.#operations[index] as ClaimOperation).reply = replies[index] as Reply;
      return { list, count: 1, staying: NONE_STAYING, isMemoryFull: false };
    });
  }

  reject(error: Error): boolean {
    const [first, second] = this.#operations;
    if (second === undefined) {
      first?.refuse(error);
      return true;
    }
    for (const operation of this.#operations) operation.isAlone = true;
    return false;
  }
}
