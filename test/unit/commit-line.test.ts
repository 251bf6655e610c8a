// The line of a connection's messages: they are released in order, and behind one that was cancelled, since its publisher
// has gone on elsewhere and repeats it, none is released as if it were to be delivered.

import t from 'tap';
import { Commit, Line } from '../../src/delivery/commit.ts';
import type { Gate } from '../../src/delivery/gate.ts';

function makeLine() {
  const released: [id: number, isCancelled: boolean][] = [];
  const fanned: Commit[] = [];
  const steps = {
    fanOut(commit: Commit) {
      commit.parts = 1;
      fanned.push(commit);
    },
    drop: () => {},
    retain: () => {},
  };
  const gate = { isOpen: true, wait: () => {} } as unknown as Gate;
  const line = new Line(steps, gate, {
    release: ({ packetId, cancelled }) => void released.push([packetId, cancelled]),
  });
  for (const id of [1, 2, 3]) line.push(new Commit(line, 'p', 'x', Buffer.alloc(0), 2, false, 0, false, id));
  return { line, released, fanned };
}

t.test('in order, whichever is committed first', async (t) => {
  const { released, fanned } = makeLine();
  for (const at of [2, 0, 1]) fanned[at]!.done();
  t.same(released, [
    [1, false],
    [2, false],
    [3, false],
  ]);
});

t.test('what comes behind one that was cancelled is not delivered before it', async (t) => {
  const { released, fanned } = makeLine();
  fanned[2]!.done();
  fanned[1]!.cancelled = true;
  for (const at of [1, 0]) fanned[at]!.done();
  t.same(released, [
    [1, false],
    [2, true],
    [3, true],
  ]);
});
