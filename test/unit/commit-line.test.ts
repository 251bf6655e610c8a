// The line of a connection's messages: what its publisher will repeat, since its record was refused, is not overtaken by
// those behind it that have theirs. Where the messages go is a list here.

import t from 'tap';
import { Commit, Line } from '../../src/delivery/commit.ts';
import type { Gate } from '../../src/delivery/gate.ts';

type Outcome = [packetId: number, isCancelled: boolean];

function makeLine() {
  const fanned: number[] = [];
  const dropped: number[] = [];
  const released: Outcome[] = [];
  const steps = {
    fanOut: ({ packetId }: Commit) => void fanned.push(packetId),
    drop: ({ packetId }: Commit) => void dropped.push(packetId),
    retain: () => {},
  };
  const gate = { isOpen: true, wait: () => {} } as unknown as Gate;
  const owner = { release: ({ packetId, cancelled }: Commit) => void released.push([packetId, cancelled]) };
  const line = new Line(steps, gate, owner);
  const push = (qos: 1 | 2, packetId: number) => {
    const commit = new Commit(line, 'p', 'x', Buffer.alloc(0), qos, false, 0, false, packetId);
    if (qos === 2) commit.prerequisites = 1;
    line.push(commit);
    return commit;
  };
  return { push, fanned, dropped, released };
}

t.test('a message goes on when its record is there, and those before it have gone', async (t) => {
  const { push, fanned, released } = makeLine();
  const [first, second] = [push(2, 1), push(2, 2)];
  second.ready();
  t.same(fanned, []);
  first.ready();
  t.same(fanned, [1, 2]);
  t.same(released, [
    [1, false],
    [2, false],
  ]);
});

t.test('behind a record that was refused none of QoS 2 goes, also if it was recorded', async (t) => {
  const { push, fanned, dropped, released } = makeLine();
  const [first, , third] = [push(2, 1), push(1, 2), push(2, 3)];
  third.ready();
  first.cancelled = true;
  first.ready();
  t.same(fanned, [2], 'order is by QoS: nothing of QoS 1 is repeated for it');
  t.same(dropped, [1, 3]);
  t.same(released, [
    [1, true],
    [2, false],
    [3, true],
  ]);
});
