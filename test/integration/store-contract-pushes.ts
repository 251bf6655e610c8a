// Contract cases of messages that a store puts into the inbox of a session's owner as it queues them: what `isPushed` says
// is what that inbox holds, in order, and nothing else is there. Whether it pushes at all is the store's own business, but
// for the plain case, in which the stores that can do it do it.

import type { Test } from 'tap';
import { markKey } from '../../src/store/records.ts';
import { type ContractNode, Enqueue, makeNode, ODD_NAMES, type OpenWorld, run } from './store-world.ts';

/** Every inbox is read as far as it goes now. */
async function readAll(...nodes: readonly ContractNode[]): Promise<void> {
  for (const { store } of nodes) await store.waitInbox(await store.inboxEnd());
}

const lineOf = ({ clientId, life, seq, body }: Enqueue): string => `${clientId} ${life} ${seq} ${body}`;
const pushedOf = (operations: readonly Enqueue[]): string[] =>
  operations.filter(({ isPushed }) => isPushed).map(lineOf);

export async function pushCases(t: Test, open: OpenWorld, pushes: boolean): Promise<void> {
  await t.test('messages for a session of another node', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { life } = await a.claim('c');
    const by = b.incarnation;
    // The first one tells the sender who the owner is.
    const first = await b.enqueue('c', life, 'first', { by });
    const many = await Promise.all(
      Array.from({ length: 1200 }, (_, at) => b.enqueue('c', life, `m${at}`, { by })),
    );
    await readAll(a, b);
    t.same(a.pushed, pushedOf([first, ...many]));
    if (pushes) t.ok(many.every(({ isPushed }) => isPushed));
    t.ok(many.every(({ status, owner }, at) => status === 'queued' && owner === a.incarnation && at >= 0));
    t.same(
      many.map(({ seq }) => seq),
      many.map((_, at) => first.seq + 1 + at),
    );
    t.same(b.pushed, []);
    const pulled = await a.pull('c', a.owner({ ...(await a.claim('c')) }), 1, 3);
    t.same(pulled.texts, ['first', 'm0', 'm1'], 'and they lie in the queue');
  });

  await t.test('many sessions of several nodes, whatever their names', async (t) => {
    const world = await open(t, {});
    const owners = [await makeNode(world), await makeNode(world), await makeNode(world)];
    const sender = await makeNode(world);
    const names = [...ODD_NAMES, 'plain'];
    const lives = await Promise.all(names.map(async (name, at) => (await owners[at % 3]!.claim(name)).life));
    const sent: Enqueue[] = [];
    for (let round = 0; round < 4; round++) {
      sent.push(
        ...(await Promise.all(
          names.map((name, at) => sender.enqueue(name, lives[at]!, `${round}`, { by: sender.incarnation })),
        )),
      );
    }
    await readAll(...owners, sender);
    for (const [index, owner] of owners.entries()) {
      const theirs = sent.filter(({ clientId }) => names.indexOf(clientId) % 3 === index);
      t.same([...owner.pushed].sort(), pushedOf(theirs).sort());
      t.equal(pushes, owner.pushed.length >= theirs.length / 2);
    }
  });

  await t.test('what is not plain, and what nobody asked for, is left to the sender', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { life } = await a.claim('c');
    const mine = await b.claim('mine');
    const by = b.incarnation;
    await b.enqueue('c', life, 'x');
    await b.enqueue('mine', mine.life, 'x', { by });
    const left = [
      await b.enqueue('c', life, 'nobody asked'),
      await b.enqueue('c', life, 'noted', { by, notedTopic: 't' }),
      await b.enqueue('c', life, 'both', { by, mark: { key: markKey('p', 0), mid: 5 }, notedTopic: 't' }),
      await b.enqueue('c', life, 'of a group', { by, isOfGroup: true }),
      await b.enqueue('mine', mine.life, 'for itself', { by }),
      await b.enqueue('c', life + 1, 'of another life', { by }),
    ];
    t.ok(left.every(({ isPushed }) => !isPushed));
    t.same(
      left.map(({ status }) => status),
      ['queued', 'queued', 'queued', 'queued', 'queued', 'gone'],
    );
    await readAll(a, b);
    t.same([a.pushed, b.pushed], [[], []]);
  });

  await t.test('marked ones: what is queued for the first time, and nothing else', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { life } = await a.claim('c');
    const by = b.incarnation;
    const mark = (slot: number, mid: number) => ({ key: markKey('p', slot), mid });
    const sent = [await b.enqueue('c', life, 'first', { by, mark: mark(0, 5) })];
    const send = async (...marks: readonly [slot: number, mid: number][]) => {
      const many = await Promise.all(
        marks.map(([slot, mid], at) =>
          b.enqueue('c', life, `${sent.length + at}`, { by, mark: mark(slot, mid) }),
        ),
      );
      sent.push(...many);
      return many.map(({ status, isPushed }) => `${status}${isPushed ? ', pushed' : ''}`);
    };
    const isQueued = pushes ? 'queued, pushed' : 'queued';
    t.same(await send([1, 7], [2, 8], [3, 9]), [isQueued, isQueued, isQueued]);
    t.same(await send([1, 7]), ['duplicate'], 'the same again');
    t.match(await send([4, 10], [2, 8], [5, 11]), [/^queued/, 'duplicate', /^queued/], 'among others');
    t.match(await send([6, 12], [6, 12], [6, 13]), [/^queued/, 'duplicate', /^queued/], 'twice at once');
    t.match(await send([6, 13], [7, 14]), ['duplicate', /^queued/]);
    await b.enqueue('c', life, 'plain', { by }).then((plain) => sent.push(plain));
    await readAll(a, b);
    t.same(a.pushed, pushedOf(sent));
    const queued = sent.filter(({ status }) => status === 'queued').map(({ body }) => String(body));
    const { texts } = await a.pull('c', a.owner(await a.claim('c')), 1, 100);
    t.same(texts, queued);
  });

  await t.test('a session that moves, and one that is let go of', async (t) => {
    const world = await open(t, {});
    const [a, b, sender] = [await makeNode(world), await makeNode(world), await makeNode(world)];
    const by = sender.incarnation;
    const { life } = await a.claim('c');
    const sent = [await sender.enqueue('c', life, '1', { by }), await sender.enqueue('c', life, '2', { by })];
    const moved = await b.claim('c');
    const toB = [await sender.enqueue('c', life, '3', { by }), await sender.enqueue('c', life, '4', { by })];
    const held = await sender.claim('c');
    const toItself = await sender.enqueue('c', life, '5', { by });
    t.match(toItself, { status: 'queued', owner: by, isPushed: false });
    await sender.store.release({
      ...{ clientId: 'c', owner: sender.owner(held), dropWill: true, expirySec: 3600, sent: 0 },
    });
    const toNobody = [
      await sender.enqueue('c', life, '6', { by }),
      await sender.enqueue('c', life, '7', { by }),
    ];
    t.ok(toNobody.every(({ isPushed, owner }) => !isPushed && owner === ''));
    await readAll(a, b, sender);
    t.same(a.pushed, pushedOf(sent));
    t.same(b.pushed, pushedOf(toB));
    t.ok(toB.every(({ owner, seq }) => owner === b.incarnation && seq > moved.tail));
    t.same(sender.pushed, []);
  });

  await t.test('an owner whose inbox is gone', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { life } = await a.claim('c');
    const by = b.incarnation;
    await b.enqueue('c', life, '1', { by });
    await a.store.resign(a.incarnation);
    await b.store.removeNode(a.incarnation);
    const late = [await b.enqueue('c', life, '2', { by }), await b.enqueue('c', life, '3', { by })];
    t.ok(late.every(({ status }) => status === 'queued'));
    t.equal((await b.sendInbox(a.incarnation, 'x')).status, 'gone', 'it does not come back');
    const { head, tail } = await b.claim('c');
    t.equal(tail - head + 1, 3);
  });

  await t.test('a full queue drops or rejects as ever', async (t) => {
    for (const queueFullPolicy of ['drop-oldest', 'reject'] as const) {
      const world = await open(t, { maxQueuedMessages: 5, windowMax: 2, queueFullPolicy });
      const [a, b] = [await makeNode(world), await makeNode(world)];
      const { life } = await a.claim('c');
      const by = b.incarnation;
      const sent: Enqueue[] = [];
      for (let at = 0; at < 9; at++) sent.push(await b.enqueue('c', life, `${at}`, { by }));
      await readAll(a);
      t.same(a.pushed, pushedOf(sent));
      const isFull = sent.map(({ status, dropped }) => status === 'rejected' || dropped > 0);
      t.same(isFull, [false, false, false, false, false, true, true, true, true]);
      t.ok(sent.every(({ isPushed }, at) => !isPushed || !isFull[at]));
    }
  });

  await t.test('the bound of an inbox holds', async (t) => {
    const world = await open(t, { maxInboxBytes: 50_000 });
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { life } = await a.claim('c');
    const by = b.incarnation;
    await b.enqueue('c', life, 'first', { by });
    const text = '.'.repeat(1000);
    const sent = await Promise.all(
      Array.from({ length: 2000 }, () => run(b.store, new Enqueue('c', life, text, { by }))),
    );
    await readAll(a);
    t.ok(a.pushed.length === pushedOf(sent).length || a.gaps > 0, `${a.pushed.length}, ${a.gaps} gaps`);
  });
}
