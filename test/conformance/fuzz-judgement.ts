// What a run of the fuzzer is judged by beside its findings: memory that stays flat on each node, and bystanders that are
// never kept waiting for long. A node's memory is flat when its median over the last quarter of the run is not far above
// that of the second: the first belongs to warming up, and single samples to the collector of garbage.

import type { FuzzReport } from './fuzz.ts';

export interface FuzzBounds {
  /** Megabytes that the median of the last quarter may lie above that of the second. */
  growthMb: number;
  /** Milliseconds from PUBLISH to delivery, the slowest one of a bystander. */
  slowestMs: number;
  /** Samples (one a second) below which a run is too short for a word on memory. */
  samplesMin: number;
}

export const FUZZ_BOUNDS: FuzzBounds = { growthMb: 50, slowestMs: 3000, samplesMin: 40 };

/** Median of the samples between two shares of the run; NaN where there is none. */
export function medianOf(samples: readonly number[], from: number, to: number): number {
  const part = samples
    .slice(Math.floor(samples.length * from), Math.floor(samples.length * to))
    .sort((a, b) => a - b);
  return part[Math.floor(part.length / 2)] ?? Number.NaN;
}

/** What breaks the bounds, a sentence each. */
export function judgeRun(
  { memoryMb, bystanders }: Pick<FuzzReport, 'memoryMb' | 'bystanders'>,
  { growthMb, slowestMs, samplesMin }: FuzzBounds = FUZZ_BOUNDS,
): string[] {
  const breaches: string[] = [];
  for (const [index, samples] of memoryMb.entries()) {
    if (samples.length < samplesMin) continue;
    const [before, after] = [medianOf(samples, 0.25, 0.5), medianOf(samples, 0.75, 1)];
    if (after - before <= growthMb) continue;
    breaches.push(`node ${index} grew from ${before} to ${after} MB, by more than ${growthMb}`);
  }
  for (const [index, one] of bystanders.entries()) {
    if (one.slowestMs <= slowestMs) continue;
    breaches.push(`bystander ${index} waited ${one.slowestMs.toFixed(0)} ms, more than ${slowestMs}`);
  }
  return breaches;
}
