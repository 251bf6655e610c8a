// What only the embedded store has: its directory. A killed process loses nothing that was answered, two processes do
// not share a directory, an unknown layout is refused, and a full disk holds answers back and loses none.

import { execFileSync } from 'node:child_process';
import { extname, join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import t, { type Test } from 'tap';
import { LevelJournal } from '../../src/store/embedded/journal.ts';
import { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import { systemClock } from '../../src/util/clock.ts';
import { eventually } from '../helpers/eventually.ts';
import { endChild, spawnOwned, temporaryFolder } from '../helpers/owner.ts';
import { ContractNode, DEFAULT_LIMITS, Enqueue, run } from './store-world.ts';

async function openNode(
  t: Test,
  directory: string | null,
  limits: Partial<StoreLimits> = {},
): Promise<ContractNode> {
  const journal = new LevelJournal(directory);
  const world = new MemoryWorld({ clock: systemClock, limits: { ...DEFAULT_LIMITS, ...limits }, journal });
  const node = new ContractNode();
  node.store = world.connect();
  t.teardown(() => node.store.close());
  await node.store.open(node);
  node.incarnation = `test-${process.pid}-${performance.now()}`;
  await node.store.register(node.incarnation, 'test', 60_000);
  return node;
}

const rawLevel = (directory: string) =>
  new ClassicLevel<string, Buffer>(join(directory, 'store'), {
    keyEncoding: 'utf8',
    valueEncoding: 'buffer',
  });

t.test('a killed process loses nothing that it was answered', async (t) => {
  const directory = temporaryFolder(t, 'kill');
  const answered: string[] = [];
  for (let round = 0; round < 3; round++) {
    const script = join(import.meta.dirname, `embedded-child${extname(import.meta.filename)}`);
    const args = [...process.execArgv, script, directory, `${round}000000`];
    const child = spawnOwned(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout!.setEncoding('utf8').on('data', (some) => (text += some));
    await eventually('some answers', () => text.length > 20_000, 30_000);
    await endChild(child, 'SIGKILL');
    // The last line may be cut.
    answered.push(...text.split('\n').slice(0, -1));
  }
  const node = await openNode(t, directory);
  const session = await node.claim('c');
  t.equal(session.present, true);
  const stored = new Map<number, string | null>();
  for (let next = session.head; next <= session.tail; ) {
    const pulled = await node.pull('c', node.owner(session), next);
    for (const [at, text] of pulled.texts.entries()) stored.set(pulled.first + at, text);
    next = pulled.first + pulled.texts.length;
  }
  const lost = answered.filter((line) => {
    const [seq, text] = line.split(' ');
    return stored.get(Number(seq)) !== text;
  });
  t.same(lost, [], `${answered.length} answered, ${stored.size} stored`);
  t.ok(
    [...stored.values()].every((text) => text !== null),
    'and there is no hole',
  );
  const { leases } = await node.store.renew(node.incarnation, 60_000);
  const before = leases.filter((lease) => lease.name === 'child');
  t.ok(before.length > 0 && before.every((lease) => lease.deadAt > 0), 'the dead have their tombstones');
  t.ok(session.previousOwner.startsWith('child-'), 'and their sessions are left to the ordinary cleaning');
});

t.test('a directory is held by one process', async (t) => {
  const directory = temporaryFolder(t, 'lock');
  const first = await openNode(t, directory);
  await t.rejects(openNode(t, directory), { code: 'SWARMQ_ERR_STORE_LOCKED' });
  await first.store.close();
  await openNode(t, directory);
});

t.test('without a directory everything is kept in memory', async (t) => {
  const node = await openNode(t, null);
  const session = await node.claim('c');
  await node.enqueueMany('c', session.life, 10);
  t.equal((await node.pull('c', node.owner(session), session.head)).texts.length, 10);
  await node.store.close();
  t.match(await (await openNode(t, null)).claim('c'), { present: false });
});

t.test('a directory that cannot be made is told', async (t) => {
  const inAFile = join(import.meta.filename, 'data');
  await t.rejects(openNode(t, inAFile), { code: 'SWARMQ_ERR_STORE_UNREACHABLE' });
});

t.test('an unknown layout or record is refused, not guessed', async (t) => {
  for (const [key, value, code] of [
    ['v', [9], 'SWARMQ_ERR_RECORD_VERSION'],
    ['sclient', [9, 0, 0, 0, 0], 'SWARMQ_ERR_RECORD_VERSION'],
    ['sclient', [1, 0, 0, 0, 200, 1, 2], 'SWARMQ_ERR_RECORD_CORRUPT'],
    ['?x', [1], 'SWARMQ_ERR_RECORD_CORRUPT'],
  ] as const) {
    const directory = temporaryFolder(t, 'layout');
    const node = await openNode(t, directory);
    await node.store.close();
    const level = rawLevel(directory);
    await level.put(key, Buffer.from(value));
    await level.close();
    await t.rejects(openNode(t, directory), { code }, key);
    await t.rejects(openNode(t, directory), { code }, 'and it is not left locked');
  }
  const directory = temporaryFolder(t, 'foreign');
  const level = rawLevel(directory);
  await level.put('somebody', Buffer.from("else's"));
  await level.close();
  await t.rejects(openNode(t, directory), { code: 'SWARMQ_ERR_RECORD_VERSION' });
});

t.test('a wiped queue leaves nothing behind, and nothing of the next life goes with it', async (t) => {
  const directory = temporaryFolder(t, 'wipe');
  let node = await openNode(t, directory);
  const old = await node.claim('c');
  for (let at = 0; at < 10_000; at += 2000) await node.enqueueMany('c', old.life, 2000, at);
  const session = await node.claim('c', { cleanStart: true });
  const [first] = await node.enqueueMany('c', session.life, 1);
  t.equal(first?.seq, 1, 'the numbers of the next life may be the same');
  // Closed before the pieces are through: the rest is found at the next start.
  await node.store.close();
  node = await openNode(t, directory);
  const again = await node.claim('c');
  t.match(again, { present: true, life: session.life, head: 1, tail: 1 });
  t.same((await node.pull('c', node.owner(again), 1)).texts, ['m0']);
  t.equal((await node.store.totals()).queuedMessages, 1);
  await eventually('the pieces', async () => {
    await node.store.renew(node.incarnation, 60_000);
    return node.store.lanePending(0) === 0;
  });
  for (let at = 0; at < 10; at++) await node.store.totals();
  await node.store.close();
  const level = rawLevel(directory);
  const entries = (await level.keys().all()).filter((key) => key.startsWith('q'));
  await level.close();
  t.same(entries, [`q${session.life}:1:c`]);
});

/** Limits how large this process' files may grow: writes beyond it fail as on a full disk. */
function limitFiles(limit: string): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${limit}:unlimited`]);
}

t.test('a full disk holds answers back, and loses none', async (t) => {
  const directory = temporaryFolder(t, 'full');
  const node = await openNode(t, directory);
  const session = await node.claim('c');
  const big = 'x'.repeat(10_000);
  // Without a handler the signal of such a write ends the process.
  const ignore = () => {};
  process.on('SIGXFSZ', ignore);
  t.teardown(() => {
    limitFiles('unlimited');
    process.off('SIGXFSZ', ignore);
  });
  limitFiles('200000');
  let answers = 0;
  const waiting: Promise<Enqueue>[] = [];
  for (let at = 0; at < 100; at++) {
    const operation = run(node.store, new Enqueue('c', session.life, `${at} ${big}`));
    waiting.push(operation);
    void operation.then(() => answers++);
    if (at % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await eventually('it is noticed', () => node.store.isAvailable() === false, 20_000);
  t.same(node.availability, [false]);
  const pull = node.pull('c', node.owner(session), 1, 1);
  const answeredWhenFull = answers;
  await new Promise((resolve) => setTimeout(resolve, 2500));
  t.equal(answers, answeredWhenFull, 'nothing is answered, however often it is tried');
  t.ok(answers < 100);
  limitFiles('unlimited');
  await eventually('all are answered', () => answers === 100);
  const operations = await Promise.all(waiting);
  t.same(
    operations.map((operation) => operation.seq),
    Array.from({ length: 100 }, (_, at) => session.head + at),
  );
  t.equal((await pull).status, 'ok');
  t.same(node.availability, [false, true]);
  const done = operations.map((operation) => operation.seq);
  t.equal((await node.ack('c', node.owner(session), session.head + 100, done)).status, 'ok');
  await node.store.close();
  const next = await openNode(t, directory);
  t.match(await next.claim('c'), { head: session.head + 100, tail: session.head + 99 });
});
