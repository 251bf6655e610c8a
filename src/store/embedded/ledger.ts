// What the parts of the embedded store's state share: where changes are noted, where numbers come from, the limits, and
// in which history the store is.

import type { StoreLimits } from '../limits.ts';
import { Stamps } from './stamps.ts';
import { WriteSet } from './write-set.ts';

export class Ledger {
  readonly limits: StoreLimits;
  readonly writes: WriteSet;
  readonly stamps = new Stamps();
  /** Raised when the store has lost its tail. */
  history = 0;
  /** Store ms at which the present history began, 0 for the first. */
  historyAt = 0;

  constructor(limits: StoreLimits, isKept: boolean) {
    this.limits = limits;
    this.writes = new WriteSet(isKept);
  }
}
