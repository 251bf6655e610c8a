// Counting without trust: which numbers of a stream arrived, which are missing, doubled or late, and how long they took.
// A StreamTally is exact, whatever the broker does, up to MISSING_MAX holes; the histogram errs by 3 per cent at most.

/** Holes remembered per stream. Above it a late message is taken for a double; a run with that many losses is void anyway. */
const MISSING_MAX = 1_000_000;

/** One publisher's numbered stream as one subscriber sees it. */
export class StreamTally {
  received = 0;
  doubled = 0;
  /** Came after a higher number: out of order. */
  late = 0;
  /** One above the highest number seen. */
  next = 0;
  #missing: Set<number> | undefined;

  /**
   * Counts the arrival of `seq`. Returns how the number of messages that the publisher may think to be under way
   * changes: 0 for a double or a late one that was written off before, else 1 plus the holes that it opens.
   */
  add(seq: number): number {
    if (seq === this.next) {
      this.next = seq + 1;
      this.received++;
      return 1;
    }
    return this.#addUnusual(seq);
  }

  #addUnusual(seq: number): number {
    if (seq > this.next) {
      const settled = seq - this.next + 1;
      this.#missing ??= new Set();
      for (let hole = this.next; hole < seq && this.#missing.size < MISSING_MAX; hole++)
        this.#missing.add(hole);
      this.next = seq + 1;
      this.received++;
      return settled;
    }
    if (this.#missing?.delete(seq)) {
      this.late++;
      this.received++;
    } else this.doubled++;
    return 0;
  }

  /** Numbers below `sent` that have not arrived. */
  lost(sent: number): number {
    return sent - this.received;
  }
}

/** What one member of a shared subscription sees of a stream that is spread over all of them. */
export class ShareTally {
  received = 0;
  doubled = 0;
  late = 0;
  readonly #whole: StreamTally;
  #next = 0;

  /** `whole` is the stream as all members together see it. */
  constructor(whole: StreamTally) {
    this.#whole = whole;
  }

  /** Counts the arrival of `seq` here. Returns 1, or 0 when a member had it already. */
  add(seq: number): number {
    const { doubled } = this.#whole;
    this.#whole.add(seq);
    if (this.#whole.doubled > doubled) {
      this.doubled++;
      return 0;
    }
    this.received++;
    if (seq < this.#next) this.late++;
    else this.#next = seq + 1;
    return 1;
  }
}

const SUB_BITS = 5;
const SUB_COUNT = 1 << SUB_BITS;

/** Log-linear histogram of whole microseconds below 2^32. */
export class Histogram {
  readonly counts: Float64Array;
  max = 0;

  constructor(counts?: number[], max = 0) {
    this.counts = new Float64Array(SUB_COUNT * 28);
    if (counts) this.counts.set(counts);
    this.max = max;
  }

  add(micros: number): void {
    if (micros > this.max) this.max = micros;
    const magnitude = 31 - Math.clz32(micros | 1);
    const index =
      magnitude < SUB_BITS
        ? micros
        : SUB_COUNT * (magnitude - SUB_BITS + 1) + ((micros >>> (magnitude - SUB_BITS)) & (SUB_COUNT - 1));
    this.counts[index]!++;
  }

  merge(other: { counts: ArrayLike<number>; max: number }): void {
    for (let index = 0; index < this.counts.length; index++) this.counts[index]! += other.counts[index]!;
    this.max = Math.max(this.max, other.max);
  }

  /** Microseconds below which `share` (0 to 1) of the values lie; NaN for none. */
  percentile(share: number): number {
    let total = 0;
    for (const count of this.counts) total += count;
    if (total === 0) return Number.NaN;
    let left = total * share;
    for (let index = 0; index < this.counts.length; index++) {
      left -= this.counts[index]!;
      if (left <= 0) return Math.min(lowerBound(index), this.max);
    }
    return this.max;
  }

  clear(): void {
    this.counts.fill(0);
    this.max = 0;
  }

  /** For a message between processes. */
  toPlain(): { counts: number[]; max: number } {
    return { counts: [...this.counts], max: this.max };
  }
}

function lowerBound(index: number): number {
  if (index < SUB_COUNT) return index;
  const magnitude = Math.floor(index / SUB_COUNT) + SUB_BITS - 1;
  return (SUB_COUNT + (index % SUB_COUNT)) * 2 ** (magnitude - SUB_BITS);
}

/** Middle value of an odd number of values, mean of the middle two of an even one. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
