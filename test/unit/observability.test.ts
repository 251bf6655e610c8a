// The log, its repeated warnings, and the watch over the event loop.

import t from 'tap';
import { createLogger, RepeatedWarnings } from '../../src/observability/logger.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import { watchStalls } from '../../src/observability/stall-watch.ts';
import type { Clock } from '../../src/util/clock.ts';

/** A clock that stands until it is moved; enough for these tests. */
function manualClock() {
  let now = 0;
  let pending: { at: number; periodMs?: number; run: () => void }[] = [];
  const add = (entry: (typeof pending)[number]) => {
    pending.push(entry);
    return {
      cancel() {
        pending = pending.filter((other) => other !== entry);
      },
    };
  };
  const clock: Clock = {
    wallMs: () => now,
    monotonicMs: () => now,
    turnMs: () => now,
    after: (delayMs, run) => add({ at: now + delayMs, run }),
    every: (periodMs, run) => add({ at: now + periodMs, periodMs, run }),
    soon: (run) => run(),
  };
  /** Moves in one leap: timers in between run late, each once, as after a stall. */
  const leap = (ms: number) => {
    now += ms;
    for (const entry of pending.filter(({ at }) => at <= now)) {
      if (entry.periodMs) entry.at = now + entry.periodMs;
      else pending = pending.filter((other) => other !== entry);
      entry.run();
    }
  };
  return { clock, leap };
}

function collect(level: 'info' | 'debug' | 'silent' = 'info') {
  const lines: Record<string, unknown>[] = [];
  const logger = createLogger(level, 'n1', { write: (line) => void lines.push(JSON.parse(line)) });
  return { lines, logger };
}

t.test('lines are JSON with level, time, node, module, fields and a sentence', async (t) => {
  const { lines, logger } = collect();
  const log = logger.child({ module: 'store' });
  log.info({ attempt: 2 }, 'connected');
  log.debug({}, 'not at this level');
  log.error({ err: new Error('broken') }, 'failed');
  t.match(lines, [
    { level: 'info', node: 'n1', module: 'store', attempt: 2, msg: 'connected', time: /^\d{4}-.*Z$/ },
    { level: 'error', err: { message: 'broken', stack: String }, msg: 'failed' },
  ]);
  t.equal(lines.length, 2);
  t.ok(logger.isLevelEnabled('info'));
  t.notOk(logger.isLevelEnabled('debug'));
});

t.test('a repeated warning is told at once, then counted', async (t) => {
  const { lines, logger } = collect();
  const { clock, leap } = manualClock();
  const warnings = new RepeatedWarnings(logger, clock, 1000);
  for (let count = 0; count < 500; count++) warnings.warn({ count }, 'it happened');
  warnings.warn({}, 'something else');
  t.match(lines, [{ count: 0, msg: 'it happened' }, { msg: 'something else' }]);
  t.equal(lines.length, 2);
  leap(1000);
  t.match(lines.at(-1), { count: 499, repeated: 499, msg: 'it happened' });
  t.equal(lines.length, 3, 'what was not repeated is not told again');
  leap(1000);
  warnings.warn({ count: 1 }, 'it happened');
  t.equal(lines.length, 4, 'after a quiet period it is told at once');
});

t.test('a stall of the event loop is counted and told', async (t) => {
  const { clock, leap } = manualClock();
  const stats = new NodeStats();
  const told: number[] = [];
  const watch = watchStalls(clock, stats, 100, (stallMs) => told.push(stallMs));
  leap(50);
  leap(60);
  t.strictSame([told, stats.eventLoopStalls, stats.eventLoopStallSeconds], [[], 0, 0.01]);
  leap(450);
  t.strictSame([told, stats.eventLoopStalls, stats.eventLoopStallSeconds], [[400], 1, 0.4]);
  watch.cancel();
  leap(1000);
  t.equal(told.length, 1);
});
