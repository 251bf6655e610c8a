// What a pump tells the store of the fields that its acknowledged messages lie in: never more than it was told itself.

import t from 'tap';
import { PushedRuns } from '../../src/session/pushed-runs.ts';
import { SENT_1, Window } from '../../src/session/window.ts';
import { Ack } from '../integration/store-world.ts';

const SIZE_OF_ENTRY = 50;

function setup(sent: number) {
  const window = new Window(128, 1);
  for (let seq = 1; seq <= sent; seq++) window.enter(seq, SENT_1, SIZE_OF_ENTRY);
  const runs = new PushedRuns();
  const take = (from: number, head: number, released: number[] = []) => {
    const ack = new Ack('c', { incarnation: 'a', epoch: 1 });
    ack.head = head;
    for (let seq = from; seq < head; seq++) ack.done.push(seq);
    ack.released.push(...released);
    return runs.take(ack, window);
  };
  return { runs, take };
}

t.test('whole runs and single entries between them, in order', async (t) => {
  const { runs, take } = setup(40);
  runs.add(3, 10, 600);
  runs.add(14, 20, 1100);
  t.same(take(1, 34), [1, 1, SIZE_OF_ENTRY, 1, SIZE_OF_ENTRY, 10, 600, 1, SIZE_OF_ENTRY, 20, 1100]);
  t.equal(take(34, 40), null, 'nothing is known of the rest');
});

t.test('a run that is acknowledged bit by bit is told until its end', async (t) => {
  const { runs, take } = setup(40);
  runs.add(1, 10, 600);
  runs.add(11, 10, 700);
  t.same(take(1, 5), [1, 10, 600]);
  t.same(take(5, 10), [1, 10, 600]);
  t.same(take(10, 13), [1, 10, 600, 10, 700]);
  t.same(take(13, 21), [11, 10, 700]);
  t.equal(take(21, 22), null);
});

t.test('nothing is told of what is not in order, or has a state of its own', async (t) => {
  const { runs, take } = setup(40);
  runs.add(1, 10, 600);
  t.equal(take(1, 5, [7]), null);
  t.equal(take(6, 5), null, 'nothing is done');
  runs.add(1, 10, 600);
  t.same(take(1, 11), [1, 10, 600], 'what comes again is one run');
  t.equal(take(11, 12), null);
});
