// One call of add-inbox.lua: the entries in line for one node's inbox. An inbox that is gone (its node is dead and
// removed) answers so for all of them.

import type { InboxOperation } from '../operations.ts';
import { type Call, NONE_STAYING, type Settled } from './call.ts';
import type { Keyspace } from './keyspace.ts';
import type { ReceiverList } from './receiver-list.ts';
import { type CommandWriter, encodeArguments, type Reply } from './resp.ts';
import { defineScript } from './script.ts';

const ADD_INBOX = defineScript('add-inbox', ['inbox', 'state'], ['maxBytes']);

const ENTRIES_OF_CALL = 16;

export class InboxCall implements Call {
  readonly lists: readonly ReceiverList[];
  readonly slot: number;
  readonly #operations: readonly InboxOperation[];
  readonly #keyspace: Keyspace;
  readonly #maxBytes: number;
  bytes = 0;

  constructor(list: ReceiverList, keyspace: Keyspace, maxBytes: number) {
    this.lists = [list];
    this.slot = list.slot;
    this.#keyspace = keyspace;
    this.#maxBytes = maxBytes;
    this.#operations = list.operations.slice(0, ENTRIES_OF_CALL) as InboxOperation[];
    list.seal(this.#operations.length);
  }

  write(writer: CommandWriter): void {
    const list = this.lists[0]!;
    const { incarnation } = this.#operations[0]!;
    list.keys ??= encodeArguments([
      this.#keyspace.inbox(incarnation),
      this.#keyspace.inboxState(incarnation),
    ]);
    ADD_INBOX.open(writer);
    writer.arguments(list.keys, 2);
    writer.number(Math.min(this.#maxBytes, Number.MAX_SAFE_INTEGER));
    for (const operation of this.#operations) {
      const payload = operation.payload();
      this.bytes += payload.length;
      writer.bytes(payload);
    }
    writer.end();
  }

  settle(reply: Reply): readonly Settled[] {
    for (const operation of this.#operations) operation.status = reply === 0 ? 'ok' : 'gone';
    return [
      { list: this.lists[0]!, count: this.#operations.length, staying: NONE_STAYING, isMemoryFull: false },
    ];
  }

  reject(): boolean {
    return false;
  }
}
