// Which messages of a session's window lie in its queue as one value, as the store told when it pushed them: where they are
// acknowledged in order, the store is told which fields these are, so that it need not read them to take them away.
// What was pulled is not known here; the store looks by itself then. Invariant: at most as many runs as the window is long.

import type { AckOperation } from '../store/operations.ts';
import type { Window } from './window.ts';

interface PushedRun {
  readonly first: number;
  readonly count: number;
  /** Of the value. */
  readonly bytes: number;
}

export class PushedRuns {
  readonly #runs: PushedRun[] = [];

  /** A run that begins with the next message of the window; one that was told before is known. */
  add(first: number, count: number, bytes: number): void {
    const last = this.#runs.at(-1);
    if (count > 1 && (last === undefined || last.first < first)) this.#runs.push({ first, count, bytes });
  }

  /** AckOperation.fields of an ack that is about to leave; forgets what lies below its head. */
  take({ head, done, released }: AckOperation, window: Window): number[] | null {
    const runs = this.#runs;
    const from = done.length > 0 ? done[0]! : head;
    while (runs.length > 0 && endOf(runs[0]!) <= from) runs.shift();
    let fields: number[] | null = null;
    if (runs.length > 0 && from < head && from + done.length === head && released.length === 0) {
      let at = Math.min(runs[0]!.first, from);
      fields = [at];
      for (let place = 0; at < head; ) {
        const run = runs[place];
        if (run?.first === at) {
          fields.push(run.count, run.bytes);
          at = endOf(run);
          place++;
        } else {
          fields.push(1, window.bytesOf(at));
          at++;
        }
      }
    }
    while (runs.length > 0 && endOf(runs[0]!) <= head) runs.shift();
    return fields;
  }
}

const endOf = ({ first, count }: PushedRun): number => first + count;
