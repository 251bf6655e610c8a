// What a pump tells the store of the fields that its acknowledged messages lie in: never more than it was told itself.

import t from 'tap';
import { type PumpPort, SessionAck } from '../../src/session/pump-operations.ts';
import { PushedRuns } from '../../src/session/pushed-runs.ts';
import { SENT_1, Window } from '../../src/session/window.ts';

const SIZE_OF_ENTRY = 50;
const PUBREL_BYTES = 2;
const nobody: PumpPort = { sealAck() {}, ackCommitted() {}, pulled() {} };

function setup(sent: number) {
  const window = new Window(128, 1);
  for (let seq = 1; seq <= sent; seq++) window.enter(seq, SENT_1, SIZE_OF_ENTRY);
  const runs = new PushedRuns();
  const tell = (from: number, head: number, released: number[] = []) => {
    const ack = new SessionAck(nobody, 'c', { incarnation: 'a', epoch: 1 });
    ack.head = head;
    for (let seq = from; seq < head; seq++) ack.done.push(seq);
    for (const seq of released) ack.release(seq, SIZE_OF_ENTRY + seq);
    runs.tell(ack, window);
    return ack;
  };
  const take = (from: number, head: number, released: number[] = []) => tell(from, head, released).fields;
  return { runs, take, tell };
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

t.test('what is released in order is told with its bytes, and the runs that it lies in', async (t) => {
  const { runs, tell } = setup(40);
  runs.add(1, 10, 600);
  runs.add(12, 20, 1100);
  const freed = (first: number, last: number) => {
    let bytes = 0;
    for (let seq = first; seq <= last; seq++) bytes += SIZE_OF_ENTRY + seq - PUBREL_BYTES;
    return bytes;
  };
  const one = tell(1, 1, [1, 2, 3]);
  t.same(one.releasedFields, [1, freed(1, 3), 10, 600]);
  t.equal(one.fields, null, 'nothing is done');
  t.equal(one.bytes, freed(1, 3));
  const all = tell(1, 4, [4, 5, 6, 7, 8, 9, 10, 11, 12]);
  t.same(all.fields, [1, 10, 600]);
  t.same(all.releasedFields, [1, freed(4, 12), 10, 600, 1, SIZE_OF_ENTRY + 11, 20, 1100]);
  const ahead = tell(4, 4, [30]);
  t.same(ahead.releasedFields, [12, freed(30, 30), 20, 1100]);
  t.same(tell(4, 12).fields, [1, 10, 600, 1, SIZE_OF_ENTRY]);
});

t.test('nothing is told of what is not in order', async (t) => {
  const { runs, take, tell } = setup(40);
  runs.add(1, 10, 600);
  const mixed = tell(1, 5, [9, 7]);
  t.same([mixed.fields, mixed.releasedFields], [null, null]);
  t.equal(take(6, 5), null, 'nothing is done');
  runs.add(1, 10, 600);
  t.same(take(1, 11), [1, 10, 600], 'what comes again is one run');
  t.equal(take(11, 12), null);
});
