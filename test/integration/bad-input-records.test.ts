// A record of an unknown version in Redis, as a newer node or a fault would leave it: a coded error in the log, never a
// crash and never a guess; it stays where it is, and other sessions are served.

import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);

const CODE = 'SWARMQ_ERR_RECORD_VERSION';
/** A version that nobody knows. */
const BAD = '\x63';

let redis: RedisServer;
let node: SwarmqNode;

t.before(async () => {
  redis = await startRedis(t, { appendonly: true });
  node = await startNode(t, { redis: redis.url });
});

/** Other sessions are served: persistent, live and retained messages arrive. */
async function servesOthers(t: Test, name: string): Promise<void> {
  const client = new MqttClient(t, { clientId: `other-${name}`, version: 5, clean: false });
  await client.connect(node.port);
  await client.subscribe([`other/${name}`], 1);
  t.equal(await client.publish(`other/${name}`, 'x', { qos: 1, retain: true }), 0);
  await eventually('another session is served', () => client.received.length >= 1);
  t.ok(node.isRunning, 'the node runs');
  await client.disconnect();
}

/** Where the record begins in a value: retained ones have the length of the writer's id before it, and the id. */
const AT_START = '1';
const BEHIND_WRITER = "27 + struct.unpack('>H', v, 25)";

/** Writes the bad version over the first byte of the record in `field` of the hash that matches `pattern`. */
async function spoil(pattern: string, field: string, at = AT_START): Promise<string> {
  const script = `local v = redis.call('HGET', KEYS[1], ARGV[1])
    if not v then return 0 end
    local at = ${at}
    if string.byte(v, at) ~= 1 then return redis.error_reply('no record of version 1 there') end
    redis.call('HSET', KEYS[1], ARGV[1], string.sub(v, 1, at - 1) .. ARGV[2] .. string.sub(v, at + 1))
    return 1`;
  for (const key of (await redis.command('KEYS', pattern)) as string[]) {
    if ((await redis.command('EVAL', script, 1, key, field, BAD)) === 1) return key;
  }
  throw new Error(`nothing to spoil at ${pattern}`);
}

/** Lines of the log with the code, since the test began. */
const codesInLog = () => node.log.split('\n').filter((line) => line.includes(CODE)).length;
let before = 0;
t.beforeEach(() => {
  before = codesInLog();
});

async function told(t: Test): Promise<void> {
  await eventually('the log tells the code', () => codesInLog() > before);
  const line = node.log.split('\n').find((one) => one.includes(CODE)) ?? '{}';
  t.match(JSON.parse(line), { level: 'error', err: { code: CODE } });
}

/** A session with one subscription, left behind. */
async function leave(t: Test, clientId: string, filter: string): Promise<MqttClient> {
  const client = new MqttClient(t, { clientId, version: 5, clean: false });
  await client.connect(node.port);
  await client.subscribe(filter, 1);
  await client.disconnect();
  return client;
}

t.test('a queue entry', async (t) => {
  const client = await leave(t, 'entry', 'entry');
  const publisher = new MqttClient(t, { clientId: 'publisher', version: 5 });
  await publisher.connect(node.port);
  for (const text of ['1', '2', '3']) await publisher.publish('entry', text, { qos: 1 });
  const key = await spoil('*:q:entry', '2');
  await client.connect(node.port);
  await eventually('its client is told to go', () => !client.isConnected);
  t.equal(client.connections.at(-1)!.disconnectCode, 0x83);
  await told(t);
  t.equal(Number(await redis.command('HLEN', key)), 3, 'nothing is lost');
  await servesOthers(t, 'entry');
  await client.connect(node.port, { clean: true });
  t.notOk(client.connections.at(-1)!.sessionPresent);
  await client.subscribe('entry', 1);
  await publisher.publish('entry', '4', { qos: 1 });
  await eventually('a clean start makes it well', () =>
    client.received.some(({ payload }) => payload.toString() === '4'),
  );
});

t.test('a damaged queue entry is passed over, and left where it is', async (t) => {
  const client = await leave(t, 'damaged', 'damaged');
  const publisher = new MqttClient(t, { clientId: 'publisher', version: 5 });
  await publisher.connect(node.port);
  for (const text of ['1', '2', '3', '4', '5']) await publisher.publish('damaged', text, { qos: 1 });
  const [key] = (await redis.command('KEYS', '*:q:damaged')) as [string];
  const cut = `redis.call('HSET', KEYS[1], ARGV[1], string.sub(redis.call('HGET', KEYS[1], ARGV[1]), 1, ARGV[2]))`;
  // One is cut within its header, the other within its body.
  for (const [seq, bytes] of [
    [2, 5],
    [4, 10],
  ]) {
    await redis.command('EVAL', cut, 1, key, seq!, bytes!);
  }
  await client.connect(node.port);
  const texts = () => client.received.map(({ payload }) => payload.toString());
  await eventually('the others arrive', () => texts().length >= 3);
  await publisher.publish('damaged', '6', { qos: 1 });
  await eventually('and what comes later', () => texts().includes('6'));
  t.same(texts(), ['1', '3', '5', '6']);
  t.ok(client.isConnected, 'the session goes on');
  const linesOf = (seq: number) => node.log.split('\n').filter((line) => line.includes(`${seq} of damaged`));
  for (const seq of [2, 4]) {
    await eventually('the log tells each', () => linesOf(seq).length > 0);
    t.match(JSON.parse(linesOf(seq)[0]!), { level: 'error', err: { code: 'SWARMQ_ERR_RECORD_CORRUPT' } });
  }
  await eventually('nothing else stays', async () => (await redis.command('HLEN', key)) === 2);
  t.same(((await redis.command('HKEYS', key)) as string[]).sort(), ['2', '4']);
  await servesOthers(t, 'damaged');
});

t.test('a key of another type where the session is', async (t) => {
  const client = await leave(t, 'typed', 'typed');
  const [key] = (await redis.command('KEYS', '*:s:typed')) as [string];
  await redis.command('SET', key, 'no hash');
  await t.rejects(client.connect(node.port), { code: 0x88 });
  await servesOthers(t, 'typed');
  await eventually('the log tells', () => node.log.includes('the store refused a call'));
  t.equal(await redis.command('GET', key), 'no hash', 'it stays where it is');
});

t.test('a session that cannot be given back is, when its record is set right', async (t) => {
  const client = new MqttClient(t, {
    ...{ clientId: 'held', version: 5, clean: false },
    will: { topic: 'left', payload: 'will', qos: 1 },
  });
  await client.connect(node.port);
  const watcher = new MqttClient(t, { clientId: 'watcher' });
  await watcher.connect(node.port);
  await watcher.subscribe('left', 1);
  const [key] = (await redis.command('KEYS', '*:s:held')) as [string];
  await redis.command('RENAME', key, 'aside');
  await redis.command('SET', key, 'no hash');
  const refusals = () => node.log.split('the store refused a call').length;
  const earlier = refusals();
  client.cut();
  await eventually('the release is refused', () => refusals() > earlier);
  await redis.command('RENAME', 'aside', key);
  await eventually('its will is published', () => watcher.received.length > 0, 20_000);
  await watcher.disconnect();
});

t.test('a row of subscriptions', async (t) => {
  const client = await leave(t, 'row', 'row/+');
  await spoil('*:rows', 'row');
  for (const code of [0x83, 0x83]) await t.rejects(client.connect(node.port), { code });
  await told(t);
  await servesOthers(t, 'row');
  const second = await startNode(t, { redis: redis.url, name: 'second' });
  await eventually('a node that starts tells it, and starts', () => second.log.includes(CODE));
  await second.stop();
  await client.connect(node.port, { clean: true });
  t.same(await client.subscribe('row/+', 1), [1], 'a clean start makes it well');
});

t.test('a retained record', async (t) => {
  const publisher = new MqttClient(t, { clientId: 'publisher', version: 5 });
  await publisher.connect(node.port);
  for (const name of ['a', 'b', 'c']) await publisher.publish(`keep/${name}`, name, { qos: 1, retain: true });
  await spoil('*:values', 'keep/b', BEHIND_WRITER);
  for (const [clientId, clean] of [
    ['fresh', true],
    ['kept', false],
  ] as const) {
    const reader = new MqttClient(t, { clientId, version: 5, clean });
    await reader.connect(node.port);
    await reader.subscribe('keep/#', 1);
    await eventually('the others arrive', () => reader.received.length === 2);
    t.same(reader.received.map(({ topic }) => topic).sort(), ['keep/a', 'keep/c']);
    await reader.disconnect();
  }
  await told(t);
  await servesOthers(t, 'retained');
  t.equal(await publisher.publish('keep/b', 'new', { qos: 1, retain: true }), 0);
  const reader = new MqttClient(t, { clientId: 'later', version: 5 });
  await reader.connect(node.port);
  await reader.subscribe('keep/b', 1);
  await eventually('a new one takes its place', () => reader.received.length === 1);
});

t.test('a retained record whose body is cut', async (t) => {
  const publisher = new MqttClient(t, { clientId: 'publisher', version: 5 });
  await publisher.connect(node.port);
  for (const name of ['a', 'b', 'c']) await publisher.publish(`cut/${name}`, name, { qos: 1, retain: true });
  const cut = `local v = redis.call('HGET', KEYS[1], 'cut/b')
    if v then redis.call('HSET', KEYS[1], 'cut/b', string.sub(v, 1, #v - 9)) end`;
  for (const key of (await redis.command('KEYS', '*:values')) as string[]) {
    await redis.command('EVAL', cut, 1, key);
  }
  for (const [clientId, clean] of [
    ['cut-fresh', true],
    ['cut-kept', false],
  ] as const) {
    const reader = new MqttClient(t, { clientId, version: 5, clean });
    await reader.connect(node.port);
    await reader.subscribe('cut/#', 1);
    await eventually('the others arrive', () => reader.received.length === 2);
    t.same(reader.received.map(({ topic }) => topic).sort(), ['cut/a', 'cut/c']);
  }
  await servesOthers(t, 'cut');
});

t.test('a will', async (t) => {
  const will = { topic: 'wills', payload: Buffer.from('gone'), qos: 1 as const, retain: false };
  const watcher = new MqttClient(t, { clientId: 'watcher', version: 5 });
  await watcher.connect(node.port);
  await watcher.subscribe('wills', 1);
  const bad = new MqttClient(t, { clientId: 'bad-will', version: 5, clean: false, will });
  await bad.connect(node.port);
  await spoil('*:wills', 'bad-will');
  const good = new MqttClient(t, { clientId: 'good-will', version: 5, clean: false, will });
  await good.connect(node.port);
  bad.cut();
  await told(t);
  good.cut();
  await eventually('the other will comes', () => watcher.received.length === 1);
  await bad.connect(node.port);
  t.ok(bad.connections.at(-1)!.sessionPresent, 'its session goes on');
  await servesOthers(t, 'will');
  t.equal(watcher.received.length, 1, 'nothing was made up');
});
