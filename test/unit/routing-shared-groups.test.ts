// Groups of shared subscriptions in the routing table: who is a member, who is there, and who is chosen.

import t from 'tap';
import type { GroupStrategy } from '../../src/config/schema.ts';
import { presenceRoute } from '../../src/routing/node-routes.ts';
import { Routes } from '../../src/routing/routes.ts';
import type { SharedGroupsOptions } from '../../src/routing/shared-groups.ts';
import { encodeRow, type Subscription } from '../../src/store/records.ts';
import { sub } from '../helpers/cluster-members.ts';
import { groupsOf } from '../helpers/groups.ts';

const FILTER = '$share/g/a/+';

/** Members m0, m1 ... of one group, each connected to the node of its number. */
function setup(
  count: number,
  strategy: GroupStrategy = 'round-robin',
  now = { ms: 1000 },
  more: Partial<SharedGroupsOptions> = {},
) {
  const groups = groupsOf('self', strategy, () => now.ms, more);
  const routes = new Routes({ selfIncarnation: 'self', groups });
  const join = (name: string, subscriptions: Subscription[] = [sub(FILTER)], persistent = true, life = 1) =>
    routes.applyRow(name, encodeRow({ life, rev: ++revs, persistent, subscriptions }));
  const come = (name: string, node: string) =>
    routes.applyRoutes(node, [{ filter: presenceRoute(name), flags: 'a' }]);
  const go = (name: string, node: string) =>
    routes.applyRoutes(node, [{ filter: presenceRoute(name), flags: '' }]);
  let revs = 0;
  for (let index = 0; index < count; index++) {
    join(`m${index}`);
    come(`m${index}`, `n${index}`);
  }
  const choose = (publisher = 'p', topic = 'a/x', isQos0 = false) => {
    const [group] = routes.match(topic).groups;
    return group === undefined ? null : (groups.choose(group, publisher, topic, isQos0)?.clientId ?? null);
  };
  return { groups, routes, join, come, go, choose, now };
}

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_none, index) => make(index));

t.test('groups by name and filter, found by topic', async (t) => {
  const { routes, join, groups } = setup(2);
  join('m0', [sub(FILTER), sub('$share/h/a/+'), sub('$share/g/#'), sub('a/+')]);
  const found = (topic: string) =>
    routes
      .match(topic)
      .groups.map(({ filter }) => filter)
      .sort();
  t.same(found('a/x'), ['$share/g/#', FILTER, '$share/h/a/+']);
  t.same(found('b'), ['$share/g/#']);
  t.same(found('$share/g/a/x'), [], 'a topic that looks like a group');
  t.same(
    routes.match('a/x').sessions.map(({ clientId }) => clientId),
    ['m0'],
    'its own subscription besides',
  );
  t.equal(groups.size, 3);
  const changed: string[] = [];
  routes.onChange = (filter) => changed.push(filter);
  join('m0', []);
  t.same(changed.sort(), ['#', 'a/+', 'a/+'], 'groups that went, and its own');
  t.same(found('a/x'), [FILTER]);
  routes.applyEnded('m1', 1);
  t.same(found('a/x'), []);
  t.equal(groups.size, 0);
});

t.test('a session that ends with its connection is a member too, and keeps its grant', async (t) => {
  const { routes, join, come } = setup(0);
  join('c', [sub(FILTER, 2, { subscriptionId: 7, retainAsPublished: true })], false);
  come('c', 'n');
  const [member] = routes.match('a/x').groups[0]!.members;
  t.match(member, {
    ...{ clientId: 'c', life: 1, isPersistent: false, node: 'n' },
    grant: { qos: 2, retainAsPublished: true, subscriptionIds: [7] },
  });
});

t.test('presence', async (t) => {
  await t.test('who is away is passed over; of those who are away one that will be back', async (t) => {
    const { choose, go, join, come } = setup(2);
    go('m0', 'n0');
    t.same(
      times(4, () => choose()),
      ['m1', 'm1', 'm1', 'm1'],
    );
    go('m1', 'n1');
    t.equal(choose('p', 'a/x', true), null, 'at QoS 0 nobody');
    t.same(times(4, () => choose()).sort(), ['m0', 'm0', 'm1', 'm1']);
    join('m0', [sub(FILTER)], false);
    t.same(
      times(3, () => choose()),
      ['m1', 'm1', 'm1'],
      'none that ends with its connection',
    );
    come('m0', 'n5');
    t.same(
      times(3, () => choose()),
      ['m0', 'm0', 'm0'],
    );
  });

  await t.test('a client that moves is there all the time, at the node it came to last', async (t) => {
    const { routes, come, go } = setup(1);
    const member = routes.match('a/x').groups[0]!.members[0]!;
    come('m0', 'new');
    t.equal(member.node, 'new');
    go('m0', 'n0');
    t.equal(member.node, 'new');
    come('m0', 'n0');
    routes.nodeDied('n0');
    t.equal(member.node, 'new', 'a dead node has nobody');
    routes.applyNodeDead('new');
    t.equal(member.node, '');
  });

  await t.test('it may be known before the row', async (t) => {
    const { choose, join, come } = setup(0);
    come('late', 'n');
    join('late');
    t.equal(choose('p', 'a/x', true), 'late');
  });

  await t.test('a snapshot says who is there', async (t) => {
    const { routes, choose } = setup(2);
    routes.beginSnapshot(false);
    for (const name of ['m0', 'm1']) {
      routes.loadRow(
        name,
        encodeRow({ ...{ life: 1, rev: 9, persistent: true }, subscriptions: [sub(FILTER)] }),
      );
    }
    routes.loadNode('n1', new Map([[presenceRoute('m1'), 'a']]));
    routes.endSnapshot();
    t.same(
      times(3, () => choose()),
      ['m1', 'm1', 'm1'],
    );
  });
});

t.test('strategies', async (t) => {
  await t.test('round-robin: even, also while members come and go', async (t) => {
    const { choose, go, come } = setup(8);
    const shares = new Map<string | null, number>();
    for (let n = 0; n < 8000; n++) {
      const one = choose();
      shares.set(one, (shares.get(one) ?? 0) + 1);
    }
    t.same(
      [...shares.values()],
      times(8, () => 1000),
    );
    go('m3', 'n3');
    t.equal(new Set(times(7, () => choose())).size, 7);
    come('m3', 'n3');
    t.equal(new Set(times(8, () => choose())).size, 8);
  });

  await t.test('random: all of them, none much more often', async (t) => {
    const { choose } = setup(4, 'random');
    const shares = new Map<string | null, number>();
    for (let n = 0; n < 4000; n++) {
      const one = choose();
      shares.set(one, (shares.get(one) ?? 0) + 1);
    }
    t.equal(shares.size, 4);
    t.ok([...shares.values()].every((share) => share > 800 && share < 1200));
  });

  await t.test('sticky: one, until it goes', async (t) => {
    const { choose, go, come, join } = setup(4, 'sticky');
    const first = choose()!;
    t.same(new Set(times(20, () => choose())), new Set([first]));
    for (const name of times(20, (index) => `new${index}`)) {
      join(name);
      come(name, 'n');
    }
    t.equal(choose(), first, 'also when others come');
    go(first, `n${first.slice(1)}`);
    const next = choose();
    t.not(next, first);
    come(first, 'n');
    t.equal(choose(), next);
  });

  for (const [strategy, keyed] of [
    ['hash-by-publisher', (key: string): [string, string] => [key, 'a/x']],
    ['hash-by-topic', (key: string): [string, string] => ['p', `a/${key}`]],
  ] as const) {
    await t.test(`${strategy}: a key keeps its member while that is there`, async (t) => {
      const made = setup(6, strategy);
      const keys = times(300, (index) => `key${index}`);
      const homes = () => keys.map((key) => made.choose(...keyed(key)));
      const before = homes();
      t.equal(new Set(before).size, 6, 'all of them have keys');
      t.same(homes(), before);
      for (const name of ['x', 'y', 'z']) {
        made.join(name);
        made.come(name, 'n');
      }
      t.same(homes(), before, 'others that come take none away');
      made.routes.applyEnded('m2', 1);
      const after = homes();
      t.ok(before.every((home, index) => home === 'm2' || home === after[index]));
      t.notOk(after.includes('m2'));
      t.ok(before.filter((home) => home === 'm2').length < 120, 'keys are spread');
    });
  }

  for (const [strategy, topicOf] of [
    ['sticky', () => 'a/x'],
    ['hash-by-publisher', () => 'a/x'],
    ['hash-by-topic', (key: number) => `a/${key}`],
  ] as const) {
    await t.test(`${strategy}: what the only member has got it keeps when others join`, async (t) => {
      const { choose, go, join, come } = setup(1, strategy);
      const homes = () => times(40, (key) => choose(`p${key}`, topicOf(key)));
      t.same(new Set(homes()), new Set(['m0']));
      for (const name of ['m1', 'm2', 'm3', 'm4']) {
        join(name);
        come(name, 'n');
      }
      t.same(new Set(homes()), new Set(['m0']), 'it is connected all the time');
      go('m0', 'n0');
      const others = homes();
      come('m0', 'n0');
      t.notOk(others.includes('m0'));
      t.same(homes(), others, 'also when it is back');
    });

    await t.test(`${strategy}: also one that is alone in being able to wait`, async (t) => {
      const { choose, go, join, come } = setup(1, strategy);
      go('m0', 'n0');
      const homes = () => times(20, (key) => choose(`p${key}`, topicOf(key)));
      t.same(new Set(homes()), new Set(['m0']));
      for (const name of times(5, (index) => `w${index}`)) join(name);
      t.same(new Set(homes()), new Set(['m0']));
      come('m0', 'n0');
      t.same(new Set(homes()), new Set(['m0']));
      for (const name of times(5, (index) => `w${index}`)) come(name, 'n');
      t.same(new Set(homes()), new Set(['m0']));
    });
  }

  await t.test('keys beyond the limit are forgotten and counted, those in use last', async (t) => {
    let forgotten = 0;
    const onKeysForgotten = (count: number) => {
      forgotten += count;
    };
    const { choose, groups, join, come } = setup(1, 'hash-by-topic', undefined, {
      keysMax: 100,
      onKeysForgotten,
    });
    let most = 0;
    for (let key = 0; key < 1000; key++) {
      choose('p', `a/${key}`);
      if (key >= 20) for (let used = 0; used < 20; used++) choose('p', `a/${used}`);
      most = Math.max(most, groups.keyCount);
    }
    t.ok(most <= 100, `${most} at a time`);
    t.ok(forgotten > 800 && forgotten + groups.keyCount >= 1000, `${forgotten} forgotten`);
    for (const name of times(4, (index) => `x${index}`)) {
      join(name);
      come(name, 'n');
    }
    const homes = (from: number) => new Set(times(20, (key) => choose('p', `a/${from + key}`)));
    t.same(homes(0), new Set(['m0']), 'those in use are known');
    t.ok(homes(100).size > 1, 'others not');
  });

  await t.test('hashes agree between nodes', async (t) => {
    const one = setup(6, 'hash-by-topic');
    const other = setup(6, 'hash-by-topic');
    for (const topic of times(50, (index) => `a/${index}`)) {
      t.equal(one.choose('p', topic), other.choose('p', topic));
    }
  });

  await t.test('least in flight: by what was told and what is under way', async (t) => {
    const { routes, choose, groups } = setup(3, 'least-in-flight');
    const members = routes.match('a/x').groups[0]!.members;
    const tell = (index: number, waiting: number) => {
      members[index]!.load.pending++;
      groups.answered(members[index]!, waiting);
    };
    for (const [index, waiting] of [50, 20, 30].entries()) tell(index, waiting);
    t.same(
      times(5, () => choose()),
      times(5, () => 'm1'),
    );
    members[1]!.load.pending = 15;
    t.equal(choose(), 'm2');
  });

  await t.test('local-first: members here before others', async (t) => {
    const { groups, choose } = setup(4, 'local-first');
    t.equal(new Set(times(4, () => choose())).size, 4, 'none is here');
    groups.setPresent('m1', 'self', true);
    groups.setPresent('m2', 'self', true);
    t.same(times(10, () => choose()).sort(), [...times(5, () => 'm1'), ...times(5, () => 'm2')]);
  });
});

t.test('the same message goes to the same member where nothing else says so', async (t) => {
  const { groups, routes } = setup(5);
  const [group] = routes.match('a/x').groups;
  const chosen = times(20, () => groups.choose(group!, 'p', 'a/x', false, 'mark 17')?.clientId);
  t.equal(new Set(chosen).size, 1);
});
