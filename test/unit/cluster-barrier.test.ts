// The barrier with lists of leases that come when the test says so: whose list counts for whom.

import t, { type Test } from 'tap';
import { Barrier } from '../../src/cluster/barrier.ts';
import type { RouteLog } from '../../src/cluster/route-log.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import type { Lease } from '../../src/store/store.ts';
import { rest, TestTime } from '../helpers/cluster-members.ts';

function setup(t: Test) {
  const lists: { give: (nodes: string[]) => void; fail: () => void }[] = [];
  const asked: string[] = [];
  const time = new TestTime();
  const routeLog = { applied: 100, onReset() {}, whenApplied() {} } as unknown as RouteLog & {
    applied: number;
  };
  const barrier = new Barrier({
    ...{ incarnation: 'me', routeLog, clock: time, stats: new NodeStats() },
    peers: { ask: (node, version) => asked.push(`${node} ${version}`) },
    live: () =>
      new Promise((resolve, reject) => {
        lists.push({
          give: (nodes) => resolve(nodes.map((incarnation) => ({ incarnation, deadAt: 0 }) as Lease)),
          fail: () => reject(new Error('away')),
        });
      }),
  });
  t.teardown(() => barrier.stop());
  const passed: number[] = [];
  const wait = (version: number, isOwn = true) =>
    void barrier.wait(version, isOwn).then(() => passed.push(version));
  return { lists, asked, time, barrier, routeLog, passed, wait };
}

t.test('a list that was read before the wait began does not count for it', async (t) => {
  const { lists, barrier, passed, wait } = setup(t);
  wait(1);
  wait(2);
  t.equal(lists.length, 1);
  lists[0]!.give(['me']);
  await rest();
  t.same(passed, [1], 'the second one began after the reading was sent');
  t.equal(lists.length, 2);
  lists[1]!.give(['me', 'late']);
  await rest();
  t.same(passed, [1]);
  barrier.applied('late', 2);
  await rest();
  t.same(passed, [1, 2]);
});

t.test('what was told before the wait began counts', async (t) => {
  const { lists, barrier, passed, wait } = setup(t);
  barrier.applied('b', 7);
  barrier.applied('b', 5);
  wait(7);
  wait(8);
  lists[0]!.give(['b']);
  await rest();
  lists[1]!.give(['b']);
  await rest();
  t.same(passed, [7]);
});

t.test('who does not tell is asked every half second, for the highest version', async (t) => {
  const { lists, asked, time, wait } = setup(t);
  wait(3);
  lists[0]!.give(['b', 'c']);
  wait(4);
  await rest();
  lists[1]!.give(['b', 'c']);
  await rest();
  t.same(asked, [], 'they tell by themselves');
  await time.pass(500);
  lists[2]!.give(['b', 'c']);
  await rest();
  t.same(asked.splice(0).sort(), ['b 4', 'c 4']);
  await time.pass(500);
  lists[3]!.fail();
  await rest();
  t.same(asked, []);
  await time.pass(500);
  lists[4]!.give(['c']);
  await rest();
  t.same(asked, ['c 4'], 'b lives no more');
});

t.test('a tombstone releases at once', async (t) => {
  const { lists, barrier, passed, wait } = setup(t);
  wait(3);
  lists[0]!.give(['b']);
  await rest();
  t.same(passed, []);
  barrier.nodeDead('b');
  await rest();
  t.same(passed, [3]);
  t.equal(barrier.waiting, 0);
});

t.test('a list that was under way when the store lost its tail does not count', async (t) => {
  const { lists, asked, barrier, routeLog, passed, wait } = setup(t);
  barrier.applied('b', 9);
  wait(3);
  routeLog.onReset();
  lists[0]!.give(['b']);
  await rest();
  t.same(passed, []);
  t.equal(lists.length, 2);
  lists[1]!.give(['b']);
  await rest();
  t.same([passed, asked], [[], ['b 3']], 'it is asked anew, at once');
  barrier.applied('b', 3);
  await rest();
  t.same(passed, [3]);
});
