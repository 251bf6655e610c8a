// A histogram that costs a few comparisons and two additions per value and allocates nothing, for the hot path. It is
// read when somebody asks for the metrics.

export class Histogram {
  /** Upper bounds, rising; what is above the last goes to one more bucket. */
  readonly bounds: readonly number[];
  /** Values per bucket, not cumulative. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds } = this;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket++;
    this.counts[bucket]! += 1;
    this.sum += value;
  }

  /** Number of values. */
  count(): number {
    return this.counts.reduce((total, count) => total + count, 0);
  }
}

/** Seconds from a tenth of a millisecond to ten seconds. */
export const DURATION_BOUNDS: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** Powers of two up to 4096, for batch sizes. */
export const SIZE_BOUNDS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
