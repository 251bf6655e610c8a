// Bar 13: names that are special to something else (globs, patterns, objects, keys of a store) are plain names here: live,
// queued and retained.

import t from 'tap';
import { PATIENCE_MS } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

/** Filter, topics that match, topics that do not. */
const CASES: [string, string[], string[]][] = [
  ['a/[b]/+', ['a/[b]/c', 'a/[b]/'], ['a/b/c', 'a/[b]']],
  ['[ab]/x', ['[ab]/x'], ['a/x', 'b/x']],
  ['star/*', ['star/*'], ['star/x', 'star/']],
  ['s*r/+', ['s*r/1'], ['star/1', 'sr/1']],
  ['q/?', ['q/?'], ['q/1', 'q/']],
  ['b\\a\\[c/#', ['b\\a\\[c', 'b\\a\\[c/d'], ['ba[c/d', 'b\\ac/d']],
  ['^hat/$end', ['^hat/$end'], ['hat/$end', '^hat/end']],
  ['mid/$dollar/#', ['mid/$dollar/x'], ['mid/dollar/x']],
  [
    'with space/+/ end ',
    ['with space/ / end ', 'with space/x/ end '],
    ['withspace/x/end', 'with space/x/ end'],
  ],
  [
    'ünïcode/+/日本/😀',
    ['ünïcode/é/日本/😀', 'ünïcode//日本/😀'],
    ['unicode/é/日本/😀', 'ünïcode/é/日本/😁'],
  ],
  ['/lead', ['/lead'], ['lead', '//lead']],
  ['trail/', ['trail/'], ['trail', 'trail//']],
  ['empty//mid', ['empty//mid'], ['empty/mid', 'empty/x/mid']],
  ['empty/+/+/four', ['empty///four', 'empty//x/four'], ['empty//four']],
  ['//', ['//'], ['/', '///']],
  ['+/only', ['/only', 'x/only'], ['only', '/x/only']],
  ['{x}/{1}', ['{x}/{1}'], ['x/1']],
  ['__proto__/#', ['__proto__', '__proto__/constructor'], ['proto']],
  ['constructor/+', ['constructor/toString', 'constructor/__proto__'], ['constructor']],
  ['a:b:c', ['a:b:c'], ['a:b', 'a/b/c']],
  ['a,b;c|d&e=f%g"h\'i', ['a,b;c|d&e=f%g"h\'i'], ['a']],
  ['CASE/Case', ['CASE/Case'], ['case/case']],
  ['0/-1/1e3/NaN/null', ['0/-1/1e3/NaN/null'], ['0/-1/1000/NaN/null']],
  [`${'long'.repeat(16_000)}/x`, [`${'long'.repeat(16_000)}/x`], ['long/x']],
];
const TOPICS = [...new Set(CASES.flatMap(([, matching, others]) => [...matching, ...others]))];

const CLIENT_IDS = [
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'a:b',
  '{x}',
  '{}',
  'a/b/#',
  ' space and ünïcode 😀 ',
  '*?[^]\\$',
  'x'.repeat(65_535),
];

let nodes: SwarmqNode[];
t.before(async () => {
  const redis = await startRedis(t, { appendonly: true });
  nodes = await startNodes(t, 2, { redis: redis.url });
});

/** What a subscription to `filter` has to bring of TOPICS. */
function expected(filter: string): string[] {
  const found = CASES.find(([candidate]) => candidate === filter)!;
  const rest = CASES.filter(([candidate]) => candidate !== filter).flatMap(([, matching, others]) => [
    ...matching,
    ...others,
  ]);
  // Topics of other cases may match too; only wildcards of one level at the front do that here.
  const also = filter === '+/only' ? rest.filter((topic) => /^[^/]*\/only$/.test(topic)) : [];
  return [...new Set([...found[1], ...also])].sort();
}

function topicsOf(client: MqttClient): string[] {
  return client.received.map(({ topic }) => topic).sort();
}

const shown = (name: string) => (name.length > 60 ? `${name.slice(0, 20)}... (${name.length})` : name);

t.test('live, queued and retained by topic', async (t) => {
  const [a, b] = nodes;
  const live: MqttClient[] = [];
  const queued: MqttClient[] = [];
  for (const [index, [filter]] of CASES.entries()) {
    const client = new MqttClient(t, { clientId: `live-${index}` });
    const away = new MqttClient(t, { clientId: `queued-${index}`, clean: false });
    for (const subscriber of [client, away]) {
      await subscriber.connect(b!.port);
      t.same(await subscriber.subscribe(filter, 1), [1], shown(filter));
    }
    await away.disconnect();
    live.push(client);
    queued.push(away);
  }
  const publisher = new MqttClient(t, { clientId: 'publisher' });
  await publisher.connect(a!.port);
  for (const topic of TOPICS) await publisher.publish(topic, `to ${topic}`, { qos: 1, retain: true });
  // Comes after everything else to whoever gets anything at all.
  const late = new MqttClient(t, { clientId: 'late' });
  await late.connect(b!.port);
  await late.subscribe('#', 1);
  await eventually('all retained messages', () => late.received.length >= TOPICS.length);
  t.same(topicsOf(late), [...TOPICS].sort(), 'all topics are retained, each once');

  for (const [index, [filter]] of CASES.entries()) {
    const wanted = expected(filter);
    const fresh = new MqttClient(t, { clientId: `fresh-${index}` });
    await fresh.connect(a!.port);
    await fresh.subscribe(filter, 1);
    await queued[index]!.connect(a!.port);
    for (const [kind, client] of [
      ['live', live[index]!],
      ['queued', queued[index]!],
      ['retained', fresh],
    ] as const) {
      await eventually(`${kind}: ${shown(filter)}`, () => client.received.length >= wanted.length);
      t.same(topicsOf(client), wanted, `${kind}: ${shown(filter)}`);
      const isTrue = client.received.every(({ topic, payload }) => String(payload) === `to ${topic}`);
      if (!isTrue) t.fail(`${kind}: wrong payload for ${shown(filter)}`);
    }
  }
  for (const topic of TOPICS) await publisher.publish(topic, '', { qos: 1, retain: true });
});

t.test('client ids', async (t) => {
  const [a, b] = nodes;
  const publisher = new MqttClient(t, { clientId: 'publisher' });
  await publisher.connect(a!.port);
  for (const [index, clientId] of CLIENT_IDS.entries()) {
    for (const version of [4, 5] as const) {
      const client = new MqttClient(t, { clientId, version, clean: false });
      await client.connect(b!.port, { clean: true });
      await client.disconnect(version === 5 ? { sessionExpirySeconds: 0 } : {});
      t.notOk((await client.connect(b!.port)).sessionPresent, shown(clientId));
      await client.subscribe(`id/${index}`, 2);
      await publisher.publish(`id/${index}`, 'live', { qos: 1 });
      await eventually(`${shown(clientId)} gets a live message`, () => client.received.length === 1);
      await client.publish(`id/${index}`, 'own', { qos: 2 });
      await eventually(`${shown(clientId)} publishes`, () => client.received.length === 2);
      await client.disconnect();
      await publisher.publish(`id/${index}`, 'queued', { qos: 1 });
      t.ok(
        (await client.connect(a!.port)).sessionPresent,
        `${shown(clientId)}: session present, MQTT ${version}`,
      );
      await eventually(`${shown(clientId)} gets what waited`, () => client.received.length === 3);
      t.same(
        client.received.map(({ payload }) => String(payload)),
        ['live', 'own', 'queued'],
      );
      await client.disconnect();
    }
  }
});
