// Watches how late the event loop is. A node renews its lease from this loop: one that stalls for longer than the
// renewals' slack would be taken for dead, so stalls are counted, kept for the metrics and told.

import type { Clock, Timer } from '../util/clock.ts';
import type { NodeStats } from './node-stats.ts';

const TICK_MS = 50;

/**
 * Counts delays above `limitMs` in `stats` and tells them to `onStall`. Cancel the returned timer to end it. A process
 * that was stopped (SIGSTOP) looks like one long stall.
 */
export function watchStalls(
  clock: Clock,
  stats: NodeStats,
  limitMs: number,
  onStall: (stallMs: number) => void,
): Timer {
  let last = clock.monotonicMs();
  return clock.every(TICK_MS, () => {
    const now = clock.monotonicMs();
    const lateMs = Math.max(0, now - last - TICK_MS);
    last = now;
    stats.eventLoopStallSeconds = Math.max(stats.eventLoopStallSeconds, lateMs / 1000);
    if (lateMs <= limitMs) return;
    stats.eventLoopStalls += 1;
    onStall(lateMs);
  });
}
