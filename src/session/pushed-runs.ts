// Which messages of a session's window lie in its queue as one value, as the store told when it pushed them: where they are
// acknowledged in order, the store is told which fields these are, so that it need not read them to take them away.
// What was pulled is not known here; the store looks by itself then. Invariant: at most as many runs as the window is long.

import { isRow } from '../store/operations.ts';
import { PUBREL_ENTRY } from '../store/records.ts';
import type { SessionAck } from './pump-operations.ts';
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

  /** Fills in fields and releasedFields of an ack that is about to leave, and forgets what lies below its head. */
  tell(ack: SessionAck, window: Window): void {
    const { head, done, released, sizes } = ack;
    const runs = this.#runs;
    const from = done.length > 0 ? Math.min(done[0]!, head) : head;
    while (runs.length > 0 && endOf(runs[0]!) <= from) runs.shift();
    if (runs.length === 0) return;
    if (released.length > 0 && isRow(released) && sizes.length === released.length) {
      const first = released[0]!;
      const values = this.#valuesOf(first, first + released.length, (seq) => sizes[seq - first]!);
      const before = sizes.reduce((sum, size) => sum + size, 0);
      values.splice(1, 0, before - released.length * PUBREL_ENTRY.length);
      ack.releasedFields = values;
    }
    if (from < head && from + done.length === head && (released.length === 0 || ack.releasedFields)) {
      ack.fields = this.#valuesOf(from, head, (seq) => window.bytesOf(seq));
    }
    while (runs.length > 0 && endOf(runs[0]!) <= head) runs.shift();
  }

  /** First seq, then messages and bytes, of the values that the seqs from `first` on lie in. */
  #valuesOf(first: number, end: number, sizeOf: (seq: number) => number): number[] {
    const runs = this.#runs;
    let place = 0;
    while (place < runs.length && endOf(runs[place]!) <= first) place++;
    let at = Math.min(runs[place]?.first ?? first, first);
    const values = [at];
    while (at < end) {
      const run = runs[place];
      if (run?.first === at) {
        values.push(run.count, run.bytes);
        at = endOf(run);
        place++;
      } else {
        values.push(1, sizeOf(at));
        at++;
      }
    }
    return values;
  }
}

const endOf = ({ first, count }: PushedRun): number => first + count;
