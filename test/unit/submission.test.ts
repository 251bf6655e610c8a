// A message to very many is submitted as fast as the store answers; what one master does not answer holds up the receivers
// of others for a moment only. The store is a list here, answered by hand.

import t from 'tap';
import { Commit, Line } from '../../src/delivery/commit.ts';
import type { Gate } from '../../src/delivery/gate.ts';
import type { InboxFence } from '../../src/delivery/inbox-fence.ts';
import { AT_ONCE, Submission } from '../../src/delivery/submission.ts';
import { ManualClock } from '../helpers/connection-fakes.ts';

const COUNT = 5000;

/** A line whose messages go to `COUNT` receivers each; `answer(n)` is the store's for the oldest n enqueues. */
function start() {
  const time = new ManualClock();
  const later: (() => void)[] = [];
  let timers = 0;
  const clock = {
    soon: (run: () => void) => void later.push(run),
    every: (periodMs: number, run: () => void) => {
      const timer = time.every(periodMs, run);
      timers++;
      return {
        cancel: () => {
          timers--;
          timer.cancel();
        },
      };
    },
  };
  /** One turn of the event loop. */
  const turn = () => {
    for (const run of later.splice(0)) run();
  };
  const fanned: Commit[] = [];
  const released: Commit[] = [];
  const submitted: number[] = [];
  const unanswered: Commit[] = [];
  const submit = (commit: Commit, from: number, until: number) => {
    submitted.push(until - from);
    for (let index = from; index < until; index++) unanswered.push(commit);
    commit.parts += until - from;
  };
  const steps = {
    fanOut: (commit: Commit) => {
      fanned.push(commit);
      new Submission({ clock, submit }, commit, COUNT);
    },
    drop: () => {},
    retain: () => {},
  };
  const gate = { isOpen: true, wait: () => {} } as unknown as Gate;
  const owner = { release: (commit: Commit) => void released.push(commit) };
  const line = new Line(steps, gate, owner, {} as InboxFence);
  line.passFence();
  const push = () => line.push(new Commit(line, 'p', 'x', Buffer.alloc(0), 1, false, 0, false, 1));
  const answer = (count: number) => {
    for (const commit of unanswered.splice(0, count)) commit.done();
  };
  return { time, turn, timersLeft: () => timers, fanned, released, submitted, unanswered, push, answer };
}

t.test('no faster than the store answers, and each receiver once', async (t) => {
  const { turn, timersLeft, released, submitted, unanswered, push, answer } = start();
  push();
  t.equal(unanswered.length, AT_ONCE, 'the first ones at once');
  let most = 0;
  for (let turns = 0; released.length === 0 && turns < 10_000; turns++) {
    turn();
    most = Math.max(most, unanswered.length);
    answer(17);
  }
  t.equal(released.length, 1);
  t.equal(
    submitted.reduce((sum, count) => sum + count),
    COUNT,
  );
  t.ok(Math.max(...submitted) <= AT_ONCE);
  t.ok(most >= 16 * AT_ONCE && most < 18 * AT_ONCE, `${most} without an answer`);
  t.equal(timersLeft(), 0, 'no timer is left');
});

t.test('while nothing is answered the window widens, and soon all are with the store', async (t) => {
  const { time, turn, timersLeft, released, unanswered, push, answer } = start();
  push();
  for (let ms = 0; ms < 150; ms++) {
    for (let turns = 0; turns < 100; turns++) turn();
    time.advance(1);
  }
  t.equal(unanswered.length, COUNT);
  answer(COUNT - 1);
  t.equal(released.length, 0);
  answer(1);
  t.equal(released.length, 1);
  t.equal(timersLeft(), 0, 'no timer is left');
});

t.test(
  'the next message of the line waits until all of the first are submitted, not until they are answered',
  async (t) => {
    const { turn, fanned, released, unanswered, push, answer } = start();
    push();
    push();
    answer(AT_ONCE);
    t.equal(fanned.length, 1);
    while (fanned.length === 1) {
      turn();
      if (unanswered.length > 100) answer(unanswered.length - 100);
    }
    t.equal(released.length, 0);
    answer(100);
    t.equal(released.length, 1);
    t.same(released[0], fanned[0]);
  },
);
