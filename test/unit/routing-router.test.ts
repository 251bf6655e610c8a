// The router over both tables: who is live here, what other nodes are told, and that what is remembered is never wrong.

import fc from 'fast-check';
import t from 'tap';
import { topicMatches } from '../../src/mqtt/topic.ts';
import { type LiveReceiver, LocalRoutes } from '../../src/routing/local-routes.ts';
import type { RouteChange, RouteFlags } from '../../src/routing/log-codec.ts';
import { MatchCache } from '../../src/routing/match-cache.ts';
import { EMPTY_MATCH, Router } from '../../src/routing/router.ts';
import { Routes } from '../../src/routing/routes.ts';
import { encodeRow, type Subscription } from '../../src/store/records.ts';
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

function setup(cacheMax = 1000) {
  const changes: RouteChange[] = [];
  const routes = new Routes({ selfIncarnation: 'self', groups: groupsOf('self') });
  const local = new LocalRoutes({ onRoutes: (some) => changes.push(...some) });
  const router = new Router({ routes, local, selfIncarnation: 'self', cacheMax });
  const take = () => changes.splice(0).map(({ filter, flags }) => `${filter}=${flags}`);
  return { routes, local, router, take };
}

const clean = (clientId: string): LiveReceiver => ({ clientId, persistent: false });
const persistent = (clientId: string): LiveReceiver => ({ clientId, persistent: true });

t.test('routes of the node follow its first and last subscription', async (t) => {
  const { local, take } = setup();
  const [a, b, p] = [clean('a'), clean('b'), persistent('p')];
  local.set(p, [sub('x', 2)]);
  t.same(take(), ['x=0'], 'a queue takes QoS 1 and 2');
  local.set(a, [sub('x', 2)]);
  t.same(take(), ['x=a']);
  local.set(b, [sub('x', 0), sub('y', 1), sub('$share/g/z', 1)]);
  t.same(take(), ['y=a', '\0b=a'], 'of shared subscriptions only that their client is here');
  local.remove(a);
  t.same(take(), []);
  local.set(b, [sub('y', 2)]);
  t.same(take(), ['x=0', '\0b=']);
  local.set(p, [sub('x', 0)]);
  t.same(take(), ['x=a'], 'QoS 0 has no queue');
  local.set(p, [sub('x', 0, { noLocal: true })]);
  t.same(take(), [], 'other options change no route');
  t.same([...local.routes()].map(({ filter, flags }) => filter + flags).sort(), ['xa', 'ya']);
  local.remove(p);
  local.remove(b);
  local.remove(b);
  t.same(take(), ['x=', 'y=']);
  t.equal(local.filterCount, 0);
  t.equal(local.receiverCount, 0);
});

t.test('targets on this node', async (t) => {
  const { local, router } = setup();
  const [c, p, n] = [clean('c'), persistent('p'), persistent('n')];
  local.set(c, [sub('a/+', 1), sub('a/b', 0, { retainAsPublished: true })]);
  local.set(p, [sub('#', 0), sub('a/b', 2, { noLocal: true, subscriptionId: 4 })]);
  local.set(n, [sub('a/b', 0)]);
  const { local: targets, sessions } = router.match('a/b');
  t.same(sessions, []);
  const plain = (qos: number, retainAsPublished = false) => ({
    qos,
    retainAsPublished,
    subscriptionIds: null,
  });
  t.equal(targets.find((one) => one.receiver === c)?.queued, false);
  t.same(targets.find((one) => one.receiver === c)?.grant, plain(1, true));
  const ofP = targets.find((one) => one.receiver === p);
  t.same(ofP?.grant, { qos: 2, retainAsPublished: false, subscriptionIds: [4] });
  t.same(ofP?.grantOthers, plain(0));
  t.same([ofP?.queued, ofP?.queuedOthers], [true, false], 'its own messages come by no queue');
  t.same(targets.find((one) => one.receiver === n)?.queued, false);
  t.equal(targets.length, 3);
});

t.test('a match is found once, and nobody at all is one object', async (t) => {
  const { routes, router } = setup();
  const match = router.match('a/b');
  t.equal(match, EMPTY_MATCH);
  routes.applyRow('c', encodeRow({ life: 1, rev: 1, persistent: true, subscriptions: [sub('a/+')] }));
  t.equal(router.match('a/b').sessions.length, 1, 'found anew: the topic comes for the first time');
  const found = router.match('a/b');
  t.equal(found.sessions.length, 1);
  t.equal(router.match('a/b'), found, 'the very same');
  routes.applyRow(
    'd',
    encodeRow({ life: 1, rev: 1, persistent: true, subscriptions: [sub('b/#'), sub('a/c')] }),
  );
  t.equal(router.match('a/b'), found, 'changes elsewhere do not matter');
  routes.applyRow('e', encodeRow({ life: 1, rev: 1, persistent: true, subscriptions: [sub('a/b/#')] }));
  t.equal(router.match('a/b').sessions.length, 2);
  router.dropSession('c', 1);
  t.equal(router.match('a/b').sessions.length, 1);
  routes.applyRow('e', encodeRow({ life: 2, rev: 1, persistent: true, subscriptions: [sub('a/b/#')] }));
  t.equal(router.match('a/b').sessions[0]?.life, 2);
  routes.version = 17;
  t.equal(router.version, 17);
});

t.test('the cache is bounded by topics and by receivers', async (t) => {
  const { local, router } = setup(100);
  const matchAll = () => {
    for (let index = 0; index < 1000; index++)
      for (let time = 0; time < 2; time++) router.match(`t/${index}`);
  };
  matchAll();
  t.ok(router.cacheSize <= 100 && router.cacheSize >= 50, `${router.cacheSize} topics`);
  for (let index = 0; index < 800; index++) local.set(clean(`c${index}`), [sub('#')]);
  matchAll();
  t.ok(router.cacheSize <= 2, `${router.cacheSize} topics of 800 receivers`);
  router.invalidate();
  t.equal(router.cacheSize, 0);
});

/** As a topic that comes twice. */
function remember<V>(cache: MatchCache<V>, topic: string, value: V, weight: number): void {
  cache.set(topic, value, weight);
  cache.set(topic, value, weight);
}

t.test('a hot topic stays although others come and go', async (t) => {
  const cache = new MatchCache<object>(10);
  const value = {};
  remember(cache, 'hot', value, 1);
  for (let index = 0; index < 100; index++) {
    remember(cache, `t${index}`, {}, 1);
    t.equal(cache.get('hot'), value);
  }
});

t.test('topics that come once are not remembered, and push nobody out', async (t) => {
  const { router } = setup(1000);
  router.match('hot');
  const hot = router.match('hot');
  for (let index = 0; index < 100_000; index++) router.match(`t/${index}`);
  t.equal(router.cacheSize, 1);
  t.equal(router.match('hot'), hot);
  for (let time = 0; time < 20; time++) router.match('again');
  t.equal(router.cacheSize, 2);
});

t.test('topics that come in turn are all remembered in the end', async (t) => {
  const { router } = setup(20_000);
  for (let round = 0; round < 60; round++)
    for (let index = 0; index < 5000; index++) router.match(`t/${index}`);
  t.equal(router.cacheSize, 5000);
});

t.test('weights count when a topic is used again, and once when it is found anew', async (t) => {
  const cache = new MatchCache<number>(100);
  remember(cache, 'large', 1, 40);
  remember(cache, 'small', 2, 10);
  t.same(
    [cache.get('large'), cache.get('small')],
    [1, 2],
    'the young ones became the old ones and are young again',
  );
  for (let round = 0; round < 100; round++) remember(cache, 'small', round, 1);
  t.equal(cache.get('large'), 1);
  for (let index = 0; index < 60; index++) remember(cache, `t${index}`, index, 1);
  t.ok(cache.size <= 62, `${cache.size}`);
  for (let index = 60; index < 120; index++) remember(cache, `t${index}`, index, 1);
  t.equal(cache.get('large'), undefined);
});

t.test('what is remembered equals what would be found anew', async (t) => {
  const levels = ['a', 'b', '', 'c'];
  const level = fc.constantFrom(...levels);
  const topic = fc.array(level, { minLength: 1, maxLength: 6 }).map((some) => some.join('/'));
  const filter = fc
    .tuple(fc.array(fc.constantFrom(...levels, '+'), { minLength: 1, maxLength: 6 }), fc.boolean())
    .map(([some, isOpen]) => (isOpen ? [...some, '#'] : some).join('/'));
  const valid = (text: string) => text.length > 0;
  const step = fc.oneof(
    fc.record({ kind: fc.constant('row' as const), name: level, filters: fc.array(filter.filter(valid)) }),
    fc.record({ kind: fc.constant('local' as const), name: level, filters: fc.array(filter.filter(valid)) }),
    fc.record({ kind: fc.constant('node' as const), name: level, filters: fc.array(filter.filter(valid)) }),
    fc.record({ kind: fc.constant('match' as const), name: topic.filter(valid), filters: fc.constant([]) }),
  );
  const property = fc.property(
    fc.array(step, { maxLength: 40 }),
    fc.array(topic.filter(valid)),
    (steps, topics) => {
      const { routes, local, router } = setup(40);
      const receivers = new Map(levels.map((name) => [name, clean(name)]));
      const model = {
        row: new Map<string, string[]>(),
        local: new Map<string, string[]>(),
        node: new Map<string, string[]>(),
      };
      let rev = 0;
      const check = (topic: string) => {
        // The second one is remembered, the third one read from there.
        router.match(topic);
        router.match(topic);
        const match = router.match(topic);
        const expected = (of: Map<string, string[]>) =>
          [...of]
            .filter(([, filters]) => filters.some((one) => topicMatches(one, topic)))
            .map(([name]) => name)
            .sort();
        const actual = [
          match.sessions.map((one) => one.clientId).sort(),
          match.local.map((one) => one.receiver.clientId).sort(),
          [...match.nodesAll].sort(),
        ];
        const wanted = [expected(model.row), expected(model.local), expected(model.node)];
        if (JSON.stringify(actual) !== JSON.stringify(wanted)) {
          throw new Error(`'${topic}': ${JSON.stringify(actual)} instead of ${JSON.stringify(wanted)}`);
        }
      };
      for (const { kind, name, filters } of steps) {
        const distinct = [...new Set(filters)];
        if (kind === 'match') check(name);
        else {
          const before = model[kind].get(name) ?? [];
          model[kind].set(name, distinct);
          const subscriptions = distinct.map((one) => sub(one));
          if (kind === 'row') {
            routes.applyRow(name, encodeRow({ life: 1, rev: ++rev, persistent: true, subscriptions }));
          } else if (kind === 'local') local.set(receivers.get(name)!, subscriptions);
          else {
            const gone = before.filter((one) => !distinct.includes(one));
            const change = (flags: RouteFlags) => (filter: string) => ({ filter, flags });
            routes.applyRoutes(name, [...gone.map(change('')), ...distinct.map(change('a'))]);
          }
        }
        for (const topic of topics) check(topic);
      }
    },
  );
  fc.assert(property, { numRuns: 1500, verbose: 1 });
  t.pass();
});

t.test('routes of the node equal those of a model', async (t) => {
  const filters = ['a', 'a/+', '#', '$share/g/a'];
  const subscription = fc
    .tuple(fc.constantFrom(...filters), fc.constantFrom(0, 1, 2))
    .map(([filter, qos]) => sub(filter, qos as 0 | 1 | 2));
  const list = fc.uniqueArray(subscription, { selector: (one) => one.filter, maxLength: 4 });
  const step = fc.record({ who: fc.nat(3), list: fc.option(list) });
  const property = fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
    const told = new Map<string, string>();
    const local = new LocalRoutes({
      onRoutes: (changes) => {
        for (const { filter, flags } of changes) {
          if (told.get(filter) === flags) throw new Error('told twice');
          if (flags === '') told.delete(filter);
          else told.set(filter, flags);
        }
      },
    });
    const receivers = [clean('0'), clean('1'), persistent('2'), persistent('3')];
    const model = new Map<LiveReceiver, Subscription[]>();
    for (const { who, list } of steps) {
      const receiver = receivers[who]!;
      if (list === null) {
        local.remove(receiver);
        model.delete(receiver);
      } else {
        local.set(receiver, list);
        model.set(receiver, list);
      }
      const expected = new Map<string, string>();
      for (const [{ clientId, persistent }, subscriptions] of model) {
        for (const { filter, qos } of subscriptions) {
          if (filter.startsWith('$share/')) {
            expected.set(`\0${clientId}`, 'a');
            continue;
          }
          if (!persistent || qos === 0) expected.set(filter, 'a');
          else if (!expected.has(filter)) expected.set(filter, '0');
        }
      }
      const view = (map: Map<string, string>) => JSON.stringify([...map].sort());
      if (view(told) !== view(expected)) throw new Error(`${view(told)} instead of ${view(expected)}`);
    }
  });
  fc.assert(property, { numRuns: 1000, verbose: 1 });
  t.pass();
});
