// The line of a connection's messages: what its publisher will repeat, since its record was refused, is not overtaken by
// those behind it that have theirs. Where the messages go is a list here.

import t from 'tap';
import { Commit, Line } from '../../src/delivery/commit.ts';
import type { Gate } from '../../src/delivery/gate.ts';
import type { FenceWaiter, InboxFence } from '../../src/delivery/inbox-fence.ts';
import type { Match } from '../../src/routing/router.ts';

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
  const asked: FenceWaiter[] = [];
  const fence = { ask: (waiter: FenceWaiter) => void asked.push(waiter) } as unknown as InboxFence;
  const line = new Line(steps, gate, owner, fence);
  const push = (qos: 1 | 2, packetId: number, match: Match | null = null) => {
    const commit = new Commit(line, 'p', 'x', Buffer.alloc(0), qos, false, 0, false, packetId);
    commit.match = match;
    if (qos === 2) commit.prerequisites = 1;
    line.push(commit);
    return commit;
  };
  return { push, fanned, dropped, released, asked };
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

t.test('what live receivers here get waits once for what the inbox holds, and all behind it', async (t) => {
  const { push, released, asked } = makeLine();
  const matchOf = (queued: boolean) =>
    ({ local: [{ receiver: { clientId: 'r' }, grant: {}, queued }] }) as unknown as Match;
  push(1, 1);
  t.same(asked, [], 'nobody is here');
  push(1, 2, matchOf(true));
  t.equal(asked.length, 1, 'asked for with the first that is known here');
  t.equal(released.length, 2, 'by its queue it comes in order anyway');
  push(1, 3, matchOf(false));
  push(1, 4);
  t.equal(released.length, 2);
  asked[0]!.passFence();
  t.equal(released.length, 4);
  push(1, 5, matchOf(false));
  t.equal(released.length, 5);
  t.equal(asked.length, 1);
});
