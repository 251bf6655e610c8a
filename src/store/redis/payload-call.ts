// One call of commit-payloads.lua: bodies that are stored once for many queue entries, and receivers that are done with
// theirs.

import type { FinishPayloadOperation, Operation, StorePayloadOperation } from '../operations.ts';
import type { Call, Settled } from './call.ts';
import { type Keyspace, payloadBucketOf } from './keyspace.ts';
import type { ReceiverList } from './receiver-list.ts';
import { asList, type CommandWriter, type Reply } from './resp.ts';
import { defineScript } from './script.ts';

const COMMIT_PAYLOADS = defineScript('commit-payloads', ['payload', 'done', 'deadlines'], []);

export const PAYLOADS_OF_CALL = 32;
const OPERATIONS_OF_PAYLOAD = 64;
const MEMORY_FULL = 6;

type PayloadOperation = StorePayloadOperation | FinishPayloadOperation;

export class PayloadCall implements Call {
  readonly lists: ReceiverList[] = [];
  readonly slot: number;
  readonly #taken: number[] = [];
  readonly #keyspace: Keyspace;
  bytes = 0;
  cost = 0;

  constructor(slot: number, keyspace: Keyspace) {
    this.slot = slot;
    this.#keyspace = keyspace;
  }

  get isFull(): boolean {
    return this.lists.length === PAYLOADS_OF_CALL || this.bytes > 1 << 20;
  }

  add(list: ReceiverList): void {
    const count = Math.min(list.operations.length, OPERATIONS_OF_PAYLOAD);
    list.seal(count);
    this.lists.push(list);
    this.#taken.push(count);
    for (let index = 0; index < count; index++) {
      const operation = list.operations[index] as PayloadOperation;
      if (operation.kind === 'store-payload') this.bytes += operation.body.length;
      else this.cost += operation.indexes.length;
      this.cost += 4;
    }
  }

  write(writer: CommandWriter): void {
    const keyspace = this.#keyspace;
    COMMIT_PAYLOADS.open(writer, 3 * this.#taken.reduce((left, right) => left + right, 0));
    this.#each(({ payloadId }) => {
      writer.text(keyspace.payloadBody(payloadId));
      writer.text(keyspace.payloadDone(payloadId));
      writer.ascii(keyspace.payloadDeadlines(payloadBucketOf(payloadId)));
    });
    this.#each((operation) => {
      writer.ascii(operation.kind === 'store-payload' ? 'S' : 'F');
      writer.text(operation.payloadId);
      if (operation.kind === 'store-payload') {
        writer.bytes(operation.body);
        writer.number(operation.receivers);
        writer.number(Math.min(operation.expiresAt, Number.MAX_SAFE_INTEGER));
      } else {
        writer.number(operation.indexes.length);
        for (const index of operation.indexes) writer.number(index);
      }
    });
    writer.end();
  }

  #each(visit: (operation: PayloadOperation) => void): void {
    for (const [index, list] of this.lists.entries()) {
      for (let at = 0; at < this.#taken[index]!; at++) visit(list.operations[at] as PayloadOperation);
    }
  }

  settle(reply: Reply): readonly Settled[] {
    const values = asList(reply);
    let at = 0;
    return this.lists.map((list, index) => {
      const count = this.#taken[index]!;
      const staying: Operation[] = [];
      for (let position = 0; position < count; position++) {
        if (values[at++] === MEMORY_FULL) staying.push(list.operations[position]!);
      }
      return { list, count, staying, isMemoryFull: staying.length > 0 };
    });
  }

  reject(): boolean {
    return false;
  }
}
