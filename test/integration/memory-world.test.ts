// The engine of the embedded store and what the simulation does to it: batches, failed writes, cut connections, held
// readers, a lost tail, chance in the order of things that repeats with its seed.

import t, { type Test } from 'tap';
import type { Journal } from '../../src/store/embedded/journal.ts';
import { MemoryImage } from '../../src/store/embedded/memory-image.ts';
import { MemoryWorld, type WorldScheduler } from '../../src/store/embedded/memory-world.ts';
import type { Batch } from '../../src/store/embedded/write-set.ts';
import { Receptions } from '../../src/store/receptions.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import { type Random, seededRandom } from '../../src/util/random.ts';
import { eventually } from '../helpers/eventually.ts';
import { ContractNode, DEFAULT_LIMITS, Enqueue, Pull, run } from './store-world.ts';

type EmbeddedStore = ReturnType<MemoryWorld['connect']>;

class WorldNode extends ContractNode {
  declare store: EmbeddedStore;
}

/** Real time; retries come soon, and keep the process waiting for them. */
const quickClock: Clock = {
  ...systemClock,
  after(_delayMs, run) {
    const handle = setTimeout(run, 5);
    return { cancel: () => clearTimeout(handle) };
  },
};

async function addNode(t: Test, world: MemoryWorld, name: string): Promise<WorldNode> {
  const node = new WorldNode();
  node.store = world.connect();
  t.teardown(() => node.store.close());
  await node.store.open(node);
  node.incarnation = name;
  await node.store.register(name, name, 60_000);
  return node;
}

/** A journal whose writes end when the test says, and as it says. */
class HeldJournal implements Journal {
  readonly batches: Batch[] = [];
  readonly #waiting: ((error: Error | null) => void)[] = [];
  isHeld = false;
  failsLeft = 0;

  async open(): Promise<void> {}
  async close(): Promise<void> {}
  write(batch: Batch, done: (error: Error | null) => void): void {
    if (this.failsLeft > 0) {
      this.failsLeft--;
      systemClock.soon(() => done(new Error('no space')));
      return;
    }
    this.batches.push(batch);
    if (this.isHeld) this.#waiting.push(done);
    else systemClock.soon(() => done(null));
  }
  release(): void {
    this.isHeld = false;
    for (const done of this.#waiting.splice(0)) done(null);
  }
}

const newWorld = (journal: Journal | null, scheduler?: WorldScheduler) =>
  new MemoryWorld({ clock: quickClock, limits: DEFAULT_LIMITS, journal, ...(scheduler && { scheduler }) });

t.test(
  'what comes during a write forms the next batch, and nothing is answered before it is written',
  async (t) => {
    const journal = new HeldJournal();
    const node = await addNode(t, newWorld(journal), 'a');
    const session = await node.claim('c');
    const before = journal.batches.length;
    journal.isHeld = true;
    let answers = 0;
    const put = (from: number, count: number) =>
      node.enqueueMany('c', session.life, count, from).then((some) => (answers += some.length));
    const first = put(0, 10);
    await eventually('the first write', () => journal.batches.length === before + 1);
    const second = put(10, 100);
    const third = put(110, 100);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    t.equal(journal.batches.length, before + 1, 'one write at a time');
    t.equal(answers, 0);
    t.equal(node.store.lanePending(0), 210);
    journal.release();
    await Promise.all([first, second, third]);
    t.equal(journal.batches.length, before + 2, 'all that waited went together');
    t.ok(journal.batches.at(-1)!.isDurable);
    await node.store.renew('a', 60_000);
    t.equal(journal.batches.at(-1)!.isDurable, false, 'a renewal waits for no disk');
  },
);

t.test('a batch that cannot be written holds everything until it can', async (t) => {
  const journal = new HeldJournal();
  const node = await addNode(t, newWorld(journal), 'a');
  const session = await node.claim('c');
  journal.failsLeft = 3;
  const some = node.enqueueMany('c', session.life, 5);
  await eventually('it is told', () => node.availability.length > 0);
  const more = node.enqueueMany('c', session.life, 5, 5);
  const seqs = [...(await some), ...(await more)].map((operation) => operation.seq);
  t.same(
    seqs,
    Array.from({ length: 10 }, (_, at) => session.head + at),
  );
  t.same(node.availability, [false, true]);
  t.equal(journal.failsLeft, 0);
});

t.test('closing answers what waits with failure', async (t) => {
  const journal = new HeldJournal();
  const node = await addNode(t, newWorld(journal), 'a');
  const session = await node.claim('c');
  journal.isHeld = true;
  const enqueue = run(node.store, new Enqueue('c', session.life, 'x'));
  const call = node.store.totals();
  const refused = Promise.all([
    t.rejects(enqueue, /failed/),
    t.rejects(call, { code: 'SWARMQ_ERR_STORE_CLOSED' }),
    t.rejects(node.store.waitInbox('99'), { code: 'SWARMQ_ERR_STORE_CLOSED' }),
  ]);
  await eventually('a write', () => journal.batches.length > 1);
  const closing = node.store.close();
  await refused;
  journal.release();
  await closing;
  await t.rejects(node.store.totals(), { code: 'SWARMQ_ERR_STORE_CLOSED' });
});

t.test('an operation under way when the connection is cut has run or not, and runs again', async (t) => {
  for (const hasRun of [true, false]) {
    const world = newWorld(null);
    const [a, b] = [await addNode(t, world, 'a'), await addNode(t, world, 'b')];
    const session = await a.claim('c');
    const marked = (text: string, mid: number) =>
      run(a.store, new Enqueue('c', session.life, text, { mark: { key: '0:p', mid } }));
    let answers = 0;
    const waiting = [
      marked('one', 1),
      marked('two', 2),
      run(a.store, new Enqueue('c', session.life, 'plain')),
    ];
    for (const one of waiting) void one.then(() => answers++);
    a.store.cut(() => hasRun);
    t.equal(a.store.isAvailable(), false);
    await b.store.totals();
    await b.store.totals();
    t.match(await b.store.inspect(['c']), [{ tail: session.tail + (hasRun ? 3 : 0) }]);
    t.equal(answers, 0);
    a.store.reconnect();
    const statuses = (await Promise.all(waiting)).map((operation) => operation.status);
    t.same(statuses, hasRun ? ['duplicate', 'duplicate', 'queued'] : ['queued', 'queued', 'queued']);
    const { texts } = await a.pull('c', a.owner(session), session.head);
    t.same(texts, hasRun ? ['one', 'two', 'plain', 'plain'] : ['one', 'two', 'plain']);
    t.same(a.availability, [false, true]);
    t.equal(a.store.lanePending(0), 0);
  }
});

t.test('the client of a claim that ran again has its session for as long as it was told', async (t) => {
  const world = newWorld(null);
  const [a, b] = [await addNode(t, world, 'a'), await addNode(t, world, 'b')];
  const claimed = a.claim('c', { expirySec: 1 });
  a.store.cut(() => true);
  await b.store.totals();
  const ranMs = performance.now();
  await eventually('its time would be over', () => performance.now() - ranMs > 1100);
  a.store.reconnect();
  const { life } = await claimed;
  const leases = [{ incarnation: 'a', renewedAt: b.store.nowMs() - 60_000, state: 'dead' as const }];
  t.match(await b.claim('c', { leases }), { present: true, life }, 'it counts from the repetition');
});

t.test('what nobody wants any more is not repeated, and what is collected is fixed once', async (t) => {
  const world = newWorld(null);
  const node = await addNode(t, world, 'a');
  const other = await addNode(t, world, 'b');
  const session = await node.claim('c');
  let seals = 0;
  class Counted extends Enqueue {
    isWantedNow = true;
    override seal() {
      seals++;
    }
    override isWanted() {
      return this.isWantedNow;
    }
  }
  const wanted = new Counted('c', session.life, 'wanted');
  const unwanted = new Counted('c', session.life, 'unwanted');
  unwanted.isWantedNow = false;
  let unwantedAnswers = 0;
  const answered = run(node.store, wanted);
  void run(node.store, unwanted).then(() => unwantedAnswers++);
  node.store.cut(() => true);
  await other.store.totals();
  node.store.reconnect();
  await answered;
  await node.store.totals();
  t.equal(seals, 2);
  t.equal(unwantedAnswers, 0);
  t.equal(node.store.lanePending(0), 0);
});

t.test('what a session had is gone with it', async (t) => {
  const world = newWorld(new MemoryImage());
  const node = await addNode(t, world, 'a');
  for (let at = 0; at < 3; at++) {
    const session = await node.claim('c', { cleanStart: true });
    const mark = { key: `${at}:p`, mid: 5 };
    await node.enqueue('c', session.life, 'x', { mark });
    t.equal(world.state.marks.size, 1);
    await node.recordInbound('c', node.owner(session), new Receptions([]), at);
  }
  const owner = node.owner(await node.claim('c', { expirySec: 0, cleanStart: true }));
  await node.store.release({ clientId: 'c', owner, dropWill: true, expirySec: 0, sent: 0 });
  t.equal(world.state.marks.size, 0);
  t.equal(world.state.sessions.size, 0);
  t.match(await node.store.totals(), { sessions: 0, queuedMessages: 0 });
});

t.test('held readers go on where they were', async (t) => {
  const world = newWorld(null);
  const [a, b] = [await addNode(t, world, 'a'), await addNode(t, world, 'b')];
  for (const node of [a, b]) node.store.followLog(0);
  b.store.hold('log');
  b.store.hold('inbox');
  for (let at = 0; at < 5; at++) {
    await a.store.appendLog('a', [{ payload: Buffer.from(`${at}`), routes: [] }], 0);
    await a.sendInbox('b', `${at}`);
  }
  await eventually('the log of a', () => a.log.length === 5);
  t.same([b.log.length, b.inbox.length], [0, 0]);
  b.store.unhold('log');
  b.store.unhold('inbox');
  await eventually('the log of b', () => b.log.length === 5 && b.inbox.length === 5);
  t.same(b.inbox, ['0', '1', '2', '3', '4']);
  t.equal(b.log[0]?.previous, 0);
});

t.test('a paused store answers nobody and loses nothing', async (t) => {
  const world = newWorld(null);
  const node = await addNode(t, world, 'a');
  const session = await node.claim('c');
  world.pause();
  let answers = 0;
  const waiting = node.enqueueMany('c', session.life, 10).then((some) => (answers += some.length));
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(answers, 0);
  t.equal(node.store.isAvailable(), true, 'nobody knows');
  world.resume();
  await waiting;
  t.equal(answers, 10);
});

t.test('a tail that is lost again, with the numbers given out since, is another one', async (t) => {
  const world = newWorld(new MemoryImage());
  const a = await addNode(t, world, 'a');
  const session = await a.claim('c');
  await a.enqueueMany('c', session.life, 5);
  const seqs = new Set<number>();
  for (let loss = 0; loss < 4; loss++) {
    const given = await a.enqueueMany('c', session.life, 5, 5);
    for (const { seq } of given) seqs.add(seq % 65_535);
    world.loseTail(1);
  }
  t.equal(seqs.size, 20);
});

t.test('after a lost tail no number is given twice', async (t) => {
  const world = newWorld(new MemoryImage());
  const [a, b] = [await addNode(t, world, 'a'), await addNode(t, world, 'b')];
  const session = await a.claim('c');
  const owner = a.owner(session);
  const empty = await a.claim('empty');
  await a.enqueueMany('c', session.life, 5);
  const [version] = await a.store.appendLog('a', [{ payload: Buffer.from('1'), routes: [] }], 0);
  const lost = await a.enqueueMany('c', session.life, 5, 5);
  const late = await addNode(t, world, 'late');
  const lostClaim = await late.claim('d');
  // The claim, the registration and the second five.
  world.loseTail(3);
  t.same([a.histories, b.histories, late.histories], [1, 1, 1]);
  t.equal(await a.store.logVersion(), version);
  const after = await a.enqueue('c', session.life, 'after');
  t.ok(after.seq > lost.at(-1)!.seq + 25_000, `${after.seq} after ${lost.at(-1)!.seq}`);
  const first = await a.pull('c', owner, session.head);
  t.same(first.texts, ['m0', 'm1', 'm2', 'm3', 'm4'], 'a reading ends before the hole');
  const behind = await a.pull('c', owner, session.head + 5);
  t.same([behind.first, behind.texts], [after.seq, ['after']], 'and goes on behind it');
  const next = await a.enqueue('c', session.life, 'next');
  t.equal(next.seq, after.seq + 1, 'one hole is enough');
  const done = [...Array(5).keys()].map((at) => session.head + at);
  await a.ack('c', owner, after.seq, done);
  t.match(await b.claim('c'), { head: after.seq, tail: next.seq });

  const later = await b.claim('empty');
  t.ok(later.head > empty.head && later.head === later.tail + 1, 'an empty queue stays empty');

  const lostOwner = { incarnation: 'late', epoch: lostClaim.epoch };
  t.same(await late.store.inspect(['d']), []);
  t.equal(
    await late.store.restore({
      clientId: 'd',
      owner: lostOwner,
      life: lostClaim.life,
      rev: 1,
      row: Buffer.from('row'),
      expirySec: 60,
      receptions: null,
    }),
    'ok',
  );
  const restored = await late.enqueue('d', lostClaim.life, 'x');
  t.ok(restored.seq > 25_000, 'a restored session may have given numbers out');
  const { leases } = await late.store.renew('late', 60_000);
  t.ok(
    leases.some((lease) => lease.incarnation === 'late' && lease.name === 'late'),
    'a lost lease is made anew',
  );
  await eventually('the lost inbox is told', () => late.gaps === 1);
  t.equal((await a.sendInbox('late', 'hello')).status, 'ok');
  await eventually('the inbox', () => late.inbox.length === 1);
});

/** Runs what is posted in an order of chance that keeps each line's. */
class ChanceScheduler implements WorldScheduler {
  readonly #random: Random;
  readonly #lines = new Map<string, (() => void)[]>();

  constructor(random: Random) {
    this.#random = random;
  }

  post(line: string, run: () => void): void {
    const waiting = this.#lines.get(line);
    if (waiting) waiting.push(run);
    else this.#lines.set(line, [run]);
    systemClock.soon(() => this.#runOne());
  }

  #runOne(): void {
    const names = [...this.#lines.keys()];
    if (names.length === 0) return;
    const name = names[this.#random.below(names.length)]!;
    const waiting = this.#lines.get(name)!;
    const run = waiting.shift()!;
    if (waiting.length === 0) this.#lines.delete(name);
    run();
  }
}

t.test('chance decides between lines, never within one, and repeats with its seed', async (t) => {
  const seed = Number(process.env.SWARMQ_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.comment(`seed ${seed}`);
  const play = async (seed: number): Promise<string[]> => {
    const world = newWorld(null, new ChanceScheduler(seededRandom(seed)));
    const node = await addNode(t, world, 'a');
    const events: string[] = [];
    const waiting: Promise<unknown>[] = [];
    const sessions = [];
    for (const name of ['x', 'y', 'z']) sessions.push(await node.claim(name));
    for (let at = 0; at < 60; at++) {
      const { life } = sessions[at % 3]!;
      const clientId = 'xyz'[at % 3]!;
      const enqueue = run(node.store, new Enqueue(clientId, life, `${at}`));
      waiting.push(enqueue.then((done) => events.push(`${clientId}${done.seq}`)));
    }
    await Promise.all(waiting);
    for (const [at, clientId] of ['x', 'y', 'z'].entries()) {
      const owner = node.owner(sessions[at]!);
      const { texts } = await run(node.store, new Pull(clientId, owner, 1, 100, 1e9));
      const wanted = Array.from({ length: 20 }, (_, more) => `${more * 3 + at}`);
      t.same(texts, wanted, `order of ${clientId} with seed ${seed}`);
    }
    return events;
  };
  const first = await play(seed);
  t.same(await play(seed), first);
  const inOrder = [...Array(60).keys()].map((at) => `${'xyz'[at % 3]}${Math.floor(at / 3) + 1}`);
  t.not(first.join(), inOrder.join(), 'it is not the order of submission');
});
