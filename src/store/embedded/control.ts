// A call of the store contract as an operation: it stands in the same line as all others, is applied to the state in its
// turn, and answers its caller when what it changed is written.

import { SwarmqError } from '../../util/errors.ts';
import { Operation } from '../operations.ts';
import type { StoreState } from './state.ts';

export type ControlRun<T> = (state: StoreState, nowMs: number) => T;

export class ControlOperation<T> extends Operation {
  readonly kind = 'control';
  readonly #run: ControlRun<T>;
  readonly #resolve: (answer: T) => void;
  readonly #reject: (error: Error) => void;
  #answer: T | undefined;

  constructor(
    receiver: string,
    run: ControlRun<T>,
    resolve: (answer: T) => void,
    reject: (error: Error) => void,
  ) {
    super(receiver);
    this.#run = run;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  apply(state: StoreState, nowMs: number): void {
    this.#answer = this.#run(state, nowMs);
  }

  complete(): void {
    if (this.failed) this.#reject(new SwarmqError('SWARMQ_ERR_STORE_CLOSED', this.receiver.slice(0, 60)));
    else this.#resolve(this.#answer as T);
  }
}
