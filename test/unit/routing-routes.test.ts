// The cluster's table: what is older changes nothing, a snapshot replaces without a gap, and the whole of it against a
// model: tables that were fed the same entries in other orders, twice, or by a snapshot in the middle are the same.

import fc from 'fast-check';
import t from 'tap';
import { encodeLogRecord, type RouteFlags } from '../../src/routing/log-codec.ts';
import { Routes } from '../../src/routing/routes.ts';
import { encodeRow, type Row, type Subscription } from '../../src/store/records.ts';
import { groupsOf } from '../helpers/groups.ts';

const sub = (filter: string, qos: 0 | 1 | 2 = 1, extra: Partial<Subscription> = {}): Subscription => ({
  filter,
  qos,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: 0,
  ...extra,
});

const row = (life: number, rev: number, subscriptions: Subscription[], persistent = true): Buffer =>
  encodeRow({ life, rev, persistent, subscriptions });

const table = () => new Routes({ selfIncarnation: 'self', groups: groupsOf('self') });
const clientsOf = (routes: Routes, topic: string) =>
  routes
    .match(topic)
    .sessions.map((target) => `${target.clientId}:${target.life}`)
    .sort();

t.test('a row counts unless one as new is known', async (t) => {
  const routes = table();
  routes.applyRow('c', row(5, 2, [sub('a'), sub('b/+', 2)]));
  t.same(clientsOf(routes, 'a'), ['c:5']);
  routes.applyRow('c', row(5, 1, [sub('old')]));
  routes.applyRow('c', row(5, 2, [sub('old')]));
  routes.applyRow('c', row(4, 9, [sub('old')]));
  t.same(clientsOf(routes, 'old'), [], 'older revs and lives change nothing');
  routes.applyRow('c', row(5, 3, [sub('b/+', 2)]));
  t.same(clientsOf(routes, 'a'), []);
  t.same(clientsOf(routes, 'b/x'), ['c:5']);
  routes.applyRow('c', row(6, 1, [sub('b/+', 2)]));
  t.same(clientsOf(routes, 'b/x'), ['c:6'], 'the new life is in the target');
  t.same(routes.sessionRow('c')?.life, 6);
  t.equal(routes.sessionRow('other'), null);
});

t.test('subscriptions are counted, also of those who are away', async (t) => {
  const routes = table();
  const counts = () => [routes.sizes.subscriptions, routes.sizes.sharedSubscriptions];
  routes.applyRow('c', row(5, 1, [sub('a'), sub('b/+', 0), sub('$share/g/a')]));
  routes.applyRow('d', row(1, 1, [sub('a'), sub('$share/g/a'), sub('$share/h/a')], false));
  t.same(counts(), [3, 3]);
  routes.applyRow('c', row(5, 2, [sub('a')]));
  routes.applyRow('c', row(5, 1, [sub('a'), sub('b')]));
  t.same(counts(), [2, 2]);
  routes.beginSnapshot(false);
  routes.loadRow('c', row(5, 2, [sub('a')]));
  routes.loadRow('e', row(2, 1, [sub('x'), sub('y')]));
  routes.endSnapshot();
  t.same(counts(), [3, 0], 'd is gone');
  routes.applyEnded('e', 2);
  routes.applyEnded('c', 5);
  t.same(counts(), [0, 0]);
});

t.test('an ended life stays ended', async (t) => {
  const routes = table();
  routes.applyRow('c', row(5, 1, [sub('a')]));
  routes.applyEnded('c', 4);
  t.same(clientsOf(routes, 'a'), ['c:5'], 'an older life ended');
  routes.applyEnded('c', 5);
  t.same(clientsOf(routes, 'a'), []);
  routes.applyRow('c', row(5, 7, [sub('a')]));
  t.same(clientsOf(routes, 'a'), [], 'a late row of it changes nothing');
  routes.applyRow('c', row(6, 1, [sub('a')]));
  t.same(clientsOf(routes, 'a'), ['c:6']);
  t.equal(routes.sizes.sessions, 1);
});

t.test('the memory of ended lives is bounded', async (t) => {
  const routes = new Routes({ selfIncarnation: 'self', groups: groupsOf('self'), endedMax: 100 });
  for (let index = 0; index < 1000; index++) routes.applyEnded(`c${index}`, 5);
  routes.applyRow('c999', row(5, 1, [sub('a')]));
  t.same(clientsOf(routes, 'a'), [], 'a recent one is remembered');
  routes.applyRow('c0', row(5, 1, [sub('a')]));
  t.same(clientsOf(routes, 'a'), ['c0:5'], 'an old one is not');
});

t.test('who is a target, and with what grant', async (t) => {
  const routes = table();
  routes.applyRow('ends-with-connection', row(1, 1, [sub('a', 2)], false));
  routes.applyRow('qos0', row(1, 1, [sub('a', 0), sub('#', 0)]));
  routes.applyRow('shared', row(1, 1, [sub('$share/g/a', 2)]));
  t.same(routes.match('a').sessions, [], 'none of these has a queue for it');
  t.same(routes.match('$share/g/a').sessions, []);
  t.equal(routes.matchSession('qos0', 'a'), null);
  t.equal(routes.matchSession('ends-with-connection', 'a'), null);

  const grants = (subscriptions: Subscription[]) => {
    routes.applyRow('c', row(2, ++rev, subscriptions));
    const [target, ...others] = routes.match('a/b').sessions;
    t.same(others, [], 'one target however many filters match');
    t.same(routes.matchSession('c', 'a/b'), target ?? null, 'matchSession says the same');
    return target && { grant: target.grant, grantOthers: target.grantOthers };
  };
  let rev = 0;
  const plain = (qos: number, retainAsPublished = false) => ({
    qos,
    retainAsPublished,
    subscriptionIds: null,
  });
  t.same(grants([sub('a/b')]), { grant: plain(1), grantOthers: plain(1) });
  t.same(grants([sub('a/b'), sub('a/+', 2), sub('#')]), { grant: plain(2), grantOthers: plain(2) });
  t.same(grants([sub('a/b', 1, { retainAsPublished: true }), sub('#', 2)]), {
    grant: plain(2, true),
    grantOthers: plain(2, true),
  });
  t.same(grants([sub('a/b', 2, { noLocal: true, retainAsPublished: true }), sub('#')]), {
    grant: plain(2, true),
    grantOthers: plain(1),
  });
  t.same(grants([sub('a/b', 2, { noLocal: true })]), { grant: plain(2), grantOthers: null });
  t.same(grants([sub('a/b', 2, { noLocal: true }), sub('#', 0, { retainAsPublished: true })]), {
    grant: plain(2, true),
    grantOthers: null,
  });
  t.same(grants([sub('a/b', 1, { subscriptionId: 7 }), sub('#', 0, { subscriptionId: 9 }), sub('x', 2)]), {
    grant: { qos: 1, retainAsPublished: false, subscriptionIds: [7, 9] },
    grantOthers: { qos: 1, retainAsPublished: false, subscriptionIds: [7, 9] },
  });
  t.equal(grants([sub('b')]), undefined);
});

t.test('names of prototypes are ordinary names', async (t) => {
  const routes = table();
  for (const name of ['__proto__', 'constructor', 'toString']) {
    t.same(clientsOf(routes, name), []);
    t.equal(routes.sessionRow(name), null);
    routes.applyRow(name, row(1, 1, [sub(name), sub(`${name}/+`)]));
    routes.applyRoutes(name, [{ filter: name, flags: 'a' }]);
    t.same(clientsOf(routes, name), [`${name}:1`]);
    t.same(clientsOf(routes, `${name}/__proto__`), [`${name}:1`]);
    t.same(routes.match(name).nodesAll, [name]);
    routes.applyNodeDead(name);
    routes.applyEnded(name, 1);
    t.same(routes.match(name), { sessions: [], nodesAll: [], nodesQos0: [], groups: [] });
  }
});

t.test('routes of nodes', async (t) => {
  const routes = table();
  routes.applyRoutes('n1', [
    { filter: 'a', flags: '0' },
    { filter: 'a/#', flags: 'a' },
    { filter: 'b/+', flags: '0' },
  ]);
  routes.applyRoutes('n2', [{ filter: 'b/+', flags: 'a' }]);
  routes.applyRoutes('self', [{ filter: 'a', flags: 'a' }]);
  t.same(
    routes.match('a'),
    { sessions: [], nodesAll: ['n1'], nodesQos0: [], groups: [] },
    'all wins, self is not there',
  );
  t.same(routes.match('b/x'), { sessions: [], nodesAll: ['n2'], nodesQos0: ['n1'], groups: [] });
  routes.applyRoutes('n1', [{ filter: 'a/#', flags: '' }]);
  t.same(routes.match('a').nodesQos0, ['n1']);
  t.equal(routes.sizes.nodeRoutes, 3);
  routes.applyNodeDead('n1');
  routes.applyRoutes('n1', [{ filter: 'a', flags: 'a' }]);
  t.same(routes.match('a').nodesAll, [], 'the dead announce nothing');
  t.equal(routes.sizes.nodeRoutes, 1);
  t.equal(routes.nodeFlags('n2', 'b/+'), 'a');
});

t.test('a snapshot replaces in place', async (t) => {
  const routes = table();
  routes.applyRow('stays', row(1, 3, [sub('a')]));
  routes.applyRow('goes', row(1, 3, [sub('a')]));
  routes.applyRow('changes', row(1, 3, [sub('a')]));
  routes.applyRoutes('n1', [{ filter: 'a', flags: 'a' }]);
  routes.applyRoutes('n2', [{ filter: 'a', flags: 'a' }]);
  routes.beginSnapshot(false);
  routes.loadRow('given-up', row(1, 1, [sub('a')]));
  routes.beginSnapshot(false);
  routes.loadRow('stays', row(1, 3, [sub('a')]));
  t.same(clientsOf(routes, 'a').length, 4, 'nothing is missing while it loads');
  routes.loadRow('changes', row(1, 4, [sub('b')]));
  routes.loadRow('new', row(1, 1, [sub('b')]));
  routes.loadNode('n1', new Map<string, RouteFlags>([['b', '0']]));
  routes.endSnapshot();
  t.same(clientsOf(routes, 'a'), ['stays:1']);
  t.same(clientsOf(routes, 'b'), ['changes:1', 'new:1']);
  t.same(routes.match('a').nodesAll, []);
  t.same(routes.match('b').nodesQos0, ['n1']);
});

t.test('a snapshot of another history is right even where it is older', async (t) => {
  const routes = table();
  routes.applyRow('c', row(2, 9, [sub('a')]));
  routes.applyEnded('d', 4);
  routes.applyNodeDead('n1');
  routes.beginSnapshot(true);
  routes.loadRow('c', row(2, 8, [sub('b')]));
  routes.loadRow('d', row(4, 1, [sub('b')]));
  routes.endSnapshot();
  t.same(clientsOf(routes, 'a'), []);
  t.same(clientsOf(routes, 'b'), ['c:2', 'd:4']);
  routes.applyRow('d', row(4, 2, []));
  t.same(clientsOf(routes, 'b'), ['c:2']);
  routes.applyRoutes('n1', [{ filter: 'a', flags: 'a' }]);
  t.same(routes.match('a').nodesAll, ['n1']);
});

t.test('a payload that cannot be read changes nothing', async (t) => {
  const routes = table();
  routes.applyRow('c', row(1, 1, [sub('a')]));
  const broken = row(2, 1, [sub('abc')]).subarray(0, 27);
  const payload = encodeLogRecord({ kind: 'row', clientId: 'c', row: broken });
  t.throws(() => routes.applyEntry(payload), { code: 'SWARMQ_ERR_RECORD_CORRUPT' });
  t.same(clientsOf(routes, 'a'), ['c:1']);
});

interface Step {
  client: string;
  what: string;
  subscriptions: Subscription[];
}

/** The log of some sessions, the records as they stand after each entry, and at the end. */
function historyOf(steps: readonly Step[]) {
  const records = new Map<string, Row>();
  const lives = new Map<string, number>();
  const payloads: Buffer[] = [];
  const states: Map<string, Row>[] = [];
  for (const { client, what, subscriptions } of steps) {
    const known = records.get(client);
    const life = known && what === 'change' ? known.life : (lives.get(client) ?? 0) + 1;
    if (what === 'end') {
      records.delete(client);
      payloads.push(encodeLogRecord({ kind: 'ended', clientId: client, life: lives.get(client) ?? 0 }));
    } else {
      lives.set(client, life);
      const rev = life === known?.life ? known.rev + 1 : 1;
      const next = { life, rev, persistent: true, subscriptions };
      records.set(client, next);
      payloads.push(encodeLogRecord({ kind: 'row', clientId: client, row: encodeRow(next) }));
    }
    states.push(new Map(records));
  }
  return { payloads, states, records };
}

t.test('tables agree whatever came late, twice or by a snapshot', async (t) => {
  const filters = ['a', 'a/b', '+', 'a/+', '#', 'a/#', '$share/g/a'];
  const topics = ['a', 'a/b', 'b', '$a'];
  const subscription = fc
    .tuple(fc.constantFrom(...filters), fc.constantFrom(0, 1, 2), fc.boolean(), fc.boolean(), fc.nat(2))
    .map(([filter, qos, noLocal, retainAsPublished, subscriptionId]) =>
      sub(filter, qos as 0 | 1 | 2, { noLocal, retainAsPublished, subscriptionId }),
    );
  const step = fc.record({
    client: fc.constantFrom('c', 'd'),
    what: fc.constantFrom('change', 'change', 'restart', 'end'),
    subscriptions: fc.uniqueArray(subscription, { selector: (one) => one.filter, maxLength: 4 }),
  });
  const view = (routes: Routes) =>
    JSON.stringify(topics.map((topic) => sorted(routes.match(topic).sessions)));
  const check = (steps: readonly Step[], late: readonly number[], cut: number) => {
    const { payloads, states, records } = historyOf(steps);
    const inOrder = table();
    for (const payload of payloads) inOrder.applyEntry(payload);
    const disturbed = table();
    payloads.forEach((payload, index) => {
      disturbed.applyEntry(payload);
      for (const other of late) if (other < index) disturbed.applyEntry(payloads[other]!);
    });
    const loaded = table();
    const from = Math.min(cut, payloads.length);
    loaded.beginSnapshot(false);
    // The snapshot is read later than its position: it may hold more than the log up to there.
    const state = states[Math.min(payloads.length - 1, from + 2)] ?? new Map<string, Row>();
    for (const [client, one] of state) loaded.loadRow(client, encodeRow(one));
    loaded.endSnapshot();
    for (const payload of payloads.slice(from)) loaded.applyEntry(payload);
    const expected = table();
    for (const [client, one] of records) expected.applyRow(client, encodeRow(one));
    for (const [name, one] of Object.entries({ inOrder, disturbed, loaded })) {
      if (view(one) !== view(expected)) throw new Error(`${name}: ${view(one)} not ${view(expected)}`);
    }
    if (inOrder.sizes.filters !== expected.sizes.filters) throw new Error('filters are left behind');
    for (const topic of topics) {
      for (const target of inOrder.match(topic).sessions) {
        const again = inOrder.matchSession(target.clientId, topic);
        if (JSON.stringify(again) !== JSON.stringify(target)) throw new Error('matchSession differs');
      }
    }
  };
  const property = fc.property(fc.array(step, { maxLength: 12 }), fc.array(fc.nat(11)), fc.nat(12), check);
  fc.assert(property, { numRuns: 2000, verbose: 1 });
  t.pass();
});

function sorted<T extends { clientId: string }>(targets: readonly T[]): T[] {
  return [...targets].sort((one, other) => (one.clientId < other.clientId ? -1 : 1));
}
