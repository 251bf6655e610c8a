// One command of a batch: operations of one or more receivers that one script call serves. A call writes itself, and
// settles its operations from the reply; sending, repeating and completing are the lane's business.

import { SwarmqError } from '../../util/errors.ts';
import { Operation } from '../operations.ts';
import type { ReceiverList } from './receiver-list.ts';
import type { CommandWriter, Reply } from './resp.ts';
import type { WriteCall } from './script.ts';

/** What a call has made of one list: `count` operations were sent, `staying` of them must be sent again. */
export interface Settled {
  readonly list: ReceiverList;
  readonly count: number;
  readonly staying: readonly Operation[];
  /** They stay because memory is full: sending them at once would not help. */
  readonly isMemoryFull: boolean;
}

export interface Call {
  /** The lists whose head this call took. */
  readonly lists: readonly ReceiverList[];
  /** Slot of its keys. */
  readonly slot: number;
  write(writer: CommandWriter, history: string): void;
  /** Sets the results of the operations. */
  settle(reply: Reply): readonly Settled[];
  /** A reply of an error that repeating does not cure: true when the call has told its operations. */
  reject(error: Error): boolean;
}

export const NONE_STAYING: readonly Operation[] = [];

export type OnAnswer = (error: Error | null, reply: Reply) => void;

/** An operation of a promise-based method: it stands in its receiver's list, and is told the reply as it is. */
export abstract class AnsweredOperation extends Operation {
  readonly #onAnswer: OnAnswer;
  error: Error | null = null;
  reply: Reply = null;

  constructor(receiver: string, onAnswer: OnAnswer) {
    super(receiver);
    this.#onAnswer = onAnswer;
  }

  /** The store has refused it, for a reason that repeating does not cure. */
  refuse(cause: Error): void {
    this.error = new SwarmqError('SWARMQ_ERR_STORE_REPLY', cause.message, { cause });
  }

  override complete(): void {
    this.#onAnswer(this.error, this.reply);
  }
}

/** One that has a script call of its own. */
export class ControlOperation extends AnsweredOperation {
  readonly kind = 'control';
  readonly #write: WriteCall;

  /** `write` makes the command anew for each repetition, with the history id of the connection it goes on. */
  constructor(receiver: string, write: WriteCall, onAnswer: OnAnswer) {
    super(receiver, onAnswer);
    this.#write = write;
  }

  write(writer: CommandWriter, history: string): void {
    this.#write(writer, history);
  }
}

export class ControlCall implements Call {
  readonly lists: readonly ReceiverList[];
  readonly slot: number;
  readonly #operation: ControlOperation;

  constructor(list: ReceiverList, operation: ControlOperation) {
    this.lists = [list];
    this.slot = list.slot;
    this.#operation = operation;
  }

  write(writer: CommandWriter, history: string): void {
    this.#operation.write(writer, history);
  }

  settle(reply: Reply): readonly Settled[] {
    this.#operation.reply = reply;
    return [{ list: this.lists[0]!, count: 1, staying: NONE_STAYING, isMemoryFull: false }];
  }

  reject(error: Error): boolean {
    this.#operation.refuse(error);
    return true;
  }
}
