// Interleavings that break the obvious way, by the numbers they have in the design, on the store itself and a real Redis:
// what was sent and never answered, a batch of which a part is refused, a queue that is wiped while its slot moves.

import t from 'tap';
import { seededRandom } from '../../src/util/random.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/net-proxy.ts';
import { startRedisCluster } from '../helpers/redis-cluster.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { startRefusingProxy } from '../helpers/refusing-proxy.ts';
import { drain, firsts, makeRedisNode } from './redis-world.ts';
import { type ContractNode, Enqueue, run, willOf } from './store-world.ts';

t.setTimeout(120_000);

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** One of everything whose second run would show. */
function sendAll(node: ContractNode, round: number, life: number, keptLife: number) {
  const text = (index: number) => `${round}-${index}`;
  const indexes = Array.from({ length: 40 }, (_none, index) => index);
  const mark = (index: number) => ({ key: `${index}:p`, mid: round + 1 });
  const plain = indexes.map((index) => run(node.store, new Enqueue('plain', life, text(index))));
  const marked = indexes.map((index) =>
    run(node.store, new Enqueue('marked', keptLife, text(index), { mark: mark(index) })),
  );
  const claimed = node.claim('claimed').then(({ epoch }) => epoch);
  const will = { clientId: 'mortal', cleanStart: true, will: willOf(text(0)) };
  const wills = node.claim('mortal', will).then(async (session) => {
    const owner = node.owner(session);
    const request = { clientId: 'mortal', owner, dropWill: false, expirySec: 0, sent: 0 };
    const released = await node.store.release(request);
    const taken = released.status === 'ok' ? released.wills : [];
    for (const { id } of taken) await node.store.finishWill('mortal', id);
    return [...session.wills, ...taken].map(({ will: { body } }) => body.toString());
  });
  return Promise.all([Promise.all(plain), Promise.all(marked), claimed, wills]);
}

t.test('interleaving 12: Redis frozen, calls sent, connections cut, Redis thawed', async (t) => {
  const server = await startRedis(t);
  const proxy = await startProxy(t, server.port);
  const a = await makeRedisNode(t, `redis://127.0.0.1:${proxy.port}`);
  const plain = await a.claim('plain');
  const marked = await a.claim('marked');
  const sent: string[] = [];
  const rounds = 8;
  for (let round = 0; round < rounds; round++) {
    server.pause();
    // In every other round the calls do not even reach the server.
    proxy.halfOpen = round % 2 === 1;
    const answers = sendAll(a, round, plain.life, marked.life);
    for (let at = 0; at < 5; at++) await turn();
    proxy.halfOpen = false;
    t.ok(proxy.cut() > 0, 'connections were cut');
    server.resume();
    const [enqueued, , epoch, wills] = await answers;
    t.same([...new Set(enqueued.map(({ status }) => status))], ['queued'], 'nothing hangs');
    t.same(wills, [`${round}-0`], 'the will is taken once');
    const [state] = await a.store.inspect(['claimed']);
    t.equal(state?.epoch, epoch, 'the claim ran once: its answer is how it stands');
    for (let index = 0; index < 40; index++) sent.push(`${round}-${index}`);
  }
  t.same(firsts(await drain(a, 'plain')), sent, 'all is queued, first occurrences in order');
  t.same(await drain(a, 'marked'), sent, 'what has a mark is queued once');
});

for (const [refusal, masters] of [
  ['LOADING Redis is loading the dataset in memory', 1],
  ['MOVED 0 127.0.0.1:1', 3],
  ['TRYAGAIN Multiple keys request during rehashing of slot', 3],
] as const) {
  const code = refusal.split(' ')[0]!;
  t.test(`interleaving 13: a part of a batch is answered ${code}, the rest succeeds`, async (t) => {
    const servers = masters === 1 ? [await startRedis(t)] : (await startRedisCluster(t)).masters;
    const proxies = await Promise.all(servers.map(({ port }) => startRefusingProxy(t, port)));
    const scheme = masters === 1 ? 'redis' : 'redis+cluster';
    for (const [at, server] of servers.entries()) {
      if (masters > 1) await server.command('CONFIG', 'SET', 'cluster-announce-port', proxies[at]!.port);
    }
    await eventually('the slot map names the proxies', async () => {
      if (masters === 1) return true;
      const maps = await Promise.all(servers.map((server) => server.command('CLUSTER', 'NODES')));
      return maps.every((map) => proxies.every(({ port }) => String(map).includes(`127.0.0.1:${port}@`)));
    });
    const a = await makeRedisNode(t, `${scheme}://127.0.0.1:${proxies[0]!.port}`);
    // More than one call takes: a batch consists of several.
    const names = Array.from({ length: 80 }, (_none, index) => `s${index}`);
    const lives = await Promise.all(names.map(async (name) => (await a.claim(name)).life));
    const seed = Number(process.env.SWARMQ_SEED ?? Date.now() % 1_000_000);
    t.comment(`SWARMQ_SEED=${seed}`);
    const random = seededRandom(seed);
    for (const proxy of proxies) {
      proxy.judge = (command) => (command.includes('EVALSHA') && random.below(3) === 0 ? refusal : null);
    }
    const texts = Array.from({ length: 60 }, (_none, index) => `m${index}`);
    const answers: Promise<Enqueue>[] = [];
    for (const text of texts) {
      for (const [at, name] of names.entries()) {
        answers.push(run(a.store, new Enqueue(name, lives[at]!, text)));
      }
      // Some are answered before the next are sent, so that there are many batches.
      await Promise.race(answers.slice(-names.length));
    }
    const statuses = new Set((await Promise.all(answers)).map(({ status }) => status));
    t.same([...statuses], ['queued']);
    const refused = proxies.reduce((sum, proxy) => sum + proxy.refused, 0);
    for (const proxy of proxies) proxy.judge = () => null;
    t.ok(refused > 5, `${refused} calls were refused`);
    // What is refused has not run: each comes once, and in order.
    for (const name of names) t.same(await drain(a, name), texts, name);
  });
}

t.test('a claim whose answer was lost counts for expiry from its repetition', async (t) => {
  const server = await startRedis(t);
  const proxy = await startProxy(t, server.port);
  const a = await makeRedisNode(t, `redis://127.0.0.1:${proxy.port}`);
  const b = await makeRedisNode(t, server.url);
  proxy.delayMs = 300;
  const claimed = a.claim('c', { expirySec: 2 });
  await eventually('it has run', async () => {
    return ((await server.command('KEYS', `*:held:${a.incarnation}`)) as string[]).length > 0;
  });
  const ranMs = performance.now();
  proxy.refusing = true;
  proxy.cut();
  proxy.delayMs = 0;
  await eventually('its time would be over', () => performance.now() - ranMs > 2100);
  proxy.refusing = false;
  const { life } = await claimed;
  const leases = [
    { incarnation: a.incarnation, renewedAt: b.store.nowMs() - 60_000, state: 'dead' as const },
  ];
  t.match(await b.claim('c', { leases }), { present: true, life }, 'it counts from the repetition');
});
