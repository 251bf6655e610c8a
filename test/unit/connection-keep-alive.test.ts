// The wheel of deadlines: none early, none late by more than a tick or two, none lost.

import t from 'tap';
import { KeepAliveWheel, TICK_MS, type Watched } from '../../src/connection/keep-alive.ts';
import { seededRandom } from '../../src/util/random.ts';
import { ManualClock } from '../helpers/connection-fakes.ts';

class Watch implements Watched {
  wheelNext: Watched | null = null;
  wheelPrevious: Watched | null = null;
  wheelSlot = -1;
  due: number;
  firedAt = -1;
  readonly #wheel: KeepAliveWheel;
  readonly #then: () => void;
  constructor(wheel: KeepAliveWheel, due: number, then: () => void = () => {}) {
    this.#wheel = wheel;
    this.due = due;
    this.#then = then;
    wheel.add(this);
  }
  dueMs(): number {
    return this.due;
  }
  onDue(): void {
    this.firedAt = this.#wheel.nowMs;
    this.#then();
  }
}

t.test('deadlines near and far, moved and removed', async (test) => {
  const seed = Math.floor(Math.random() * 1e9);
  const random = seededRandom(seed);
  const clock = new ManualClock();
  const wheel = new KeepAliveWheel(clock);
  test.teardown(() => wheel.stop());
  const watches = Array.from({ length: 500 }, () => new Watch(wheel, random.below(200_000)));
  const removed = new Set<Watch>();
  while (clock.monotonicMs() < 210_000) {
    clock.advance(1000);
    const one = watches[random.below(watches.length)];
    if (one.firedAt >= 0 || removed.has(one)) continue;
    if (random.below(10) === 0) {
      wheel.remove(one);
      removed.add(one);
    } else {
      // Later: a field write is enough. Nearer would need add().
      one.due = Math.min(one.due + random.below(50_000), 205_000);
    }
  }
  for (const one of watches) {
    if (removed.has(one)) {
      test.equal(one.firedAt, -1, 'removed');
      continue;
    }
    const lateMs = one.firedAt - one.due;
    if (one.firedAt < 0 || lateMs < 0 || lateMs > 2 * TICK_MS)
      test.fail(`late by ${lateMs} ms, seed ${seed}`);
  }
  test.equal(wheel.size, 0);
});

t.test('one that ends others and watches itself again', async (test) => {
  const clock = new ManualClock();
  const wheel = new KeepAliveWheel(clock);
  test.teardown(() => wheel.stop());
  const others = [new Watch(wheel, 1000), new Watch(wheel, 1000)];
  let times = 0;
  const again: Watch = new Watch(wheel, 1000, () => {
    for (const other of others) wheel.remove(other);
    times++;
    again.due += 1000;
    if (times < 3) wheel.add(again);
  });
  others.push(new Watch(wheel, 1000));
  clock.advance(10_000);
  test.equal(times, 3);
  test.ok(others.every((one) => one.wheelSlot === -1));
  test.equal(wheel.size, 0);
});

t.test('time in which the process stood still does not count', async (test) => {
  const clock = new ManualClock();
  const wheel = new KeepAliveWheel(clock);
  test.teardown(() => wheel.stop());
  const one = new Watch(wheel, 3000);
  clock.advance(2500);
  // It was heard from meanwhile: its slot comes round before its deadline.
  one.due = 4500;
  clock.advance(60_000, true);
  clock.advance(750);
  test.equal(one.firedAt, -1);
  clock.advance(1500);
  test.not(one.firedAt, -1);
});
