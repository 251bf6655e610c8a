// Contract cases of queues: numbering, order, refusals, marks, limits, acknowledgements, pulls and retained copies.

import type { Test } from 'tap';
import { Receptions } from '../../src/store/receptions.ts';
import { markKey, PUBREL_ENTRY } from '../../src/store/records.ts';
import { type ContractNode, Enqueue, HEADER, makeNode, type OpenWorld, Pull, run } from './store-world.ts';

export async function queueCases(t: Test, open: OpenWorld): Promise<void> {
  await orderCases(t, open);
  await limitCases(t, open);
  await ackCases(t, open);
  await pullCases(t, open);
  await copyCases(t, open);
}

async function orderCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('numbers are contiguous and in the order of submission', async (t) => {
    const a = await makeNode(await open(t, {}));
    const clients = ['x', 'y', 'z'];
    const sessions = await Promise.all(clients.map((name) => a.claim(name)));
    const completed: string[][] = [[], [], []];
    const waiting: Promise<unknown>[] = [];
    for (let at = 0; at < 600; at++) {
      const who = at % 3;
      const operation = new Enqueue(clients[who]!, sessions[who]!.life, `${at}`);
      waiting.push(run(a.store, operation).then(() => completed[who]!.push(`${at}:${operation.seq}`)));
    }
    await Promise.all(waiting);
    for (const [who, session] of sessions.entries()) {
      const wanted = Array.from({ length: 200 }, (_, at) => `${at * 3 + who}`);
      t.same(
        completed[who],
        wanted.map((text, at) => `${text}:${session.head + at}`),
      );
      const pulled = await a.pull(clients[who]!, a.owner(session), session.head);
      t.same(pulled.texts, wanted);
      t.equal(pulled.tail, session.tail + 200);
    }
  });

  await t.test('calls of a session stand behind what was submitted for it before', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const enqueues = a.enqueueMany('c', session.life, 100);
    const request = { clientId: 'c', owner, dropWill: true, expirySec: 60, sent: 0 };
    const released = a.store.release(request);
    const late = run(a.store, new Pull('c', owner, session.head, 10, 1000));
    const claimed = a.claim('c');
    t.equal((await enqueues).at(-1)?.owner, a.incarnation);
    t.match(await released, { status: 'ok' });
    t.equal((await late).status, 'fenced');
    t.equal((await claimed).tail, session.tail + 100);
  });

  await t.test('what else its owner writes stands between messages', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const receptions = new Receptions([]);
    const others: Record<string, () => Promise<{ status: string }>> = {
      record: () => a.recordInbound('c', owner, receptions, 7),
      forget: () => a.forgetInbound('c', owner, receptions, 7),
      ack: () => a.ack('c', owner, session.head, []),
      pull: () => a.pull('c', owner, session.head),
    };
    const wanted: string[] = [];
    for (const [kind, submit] of Object.entries(others)) {
      const options = { by: 'someone', qos: 2 as const };
      const first = a.enqueue('c', session.life, `${kind}-1`, options);
      const other = submit();
      const rest = [2, 3].map((at) => a.enqueue('c', session.life, `${kind}-${at}`, options));
      t.equal((await other).status, 'ok', kind);
      for (const one of await Promise.all([first, ...rest])) t.equal(one.status, 'queued');
      wanted.push(...[1, 2, 3].map((at) => `${kind}-${at}`));
    }
    t.same((await a.pull('c', owner, session.head)).texts, wanted);
    t.same((await a.claim('c')).inbound, []);
  });

  await t.test('writers of several nodes share one numbering', async (t) => {
    const world = await open(t, {});
    const nodes = await Promise.all([makeNode(world), makeNode(world), makeNode(world)]);
    const session = await nodes[0].claim('c');
    const all = await Promise.all(nodes.map((node) => node.enqueueMany('c', session.life, 100)));
    const seqs = all.flat().map((operation) => operation.seq);
    t.same(
      seqs.sort((x, y) => x - y),
      Array.from({ length: 300 }, (_, at) => session.head + at),
    );
    t.ok(all.flat().every((operation) => operation.owner === nodes[0].incarnation));
  });
}

const bytesOf = (text: string): number => HEADER.length + text.length;

/** Seqs, relative to `first`, of what is still in the queue. */
async function present(
  a: ContractNode,
  clientId: string,
  owner: { incarnation: string; epoch: number },
  first: number,
) {
  const pulled = await a.pull(clientId, owner, first);
  return pulled.texts.flatMap((text, at) => (text === null ? [] : [pulled.first - first + at]));
}

async function limitCases(t: Test, open: OpenWorld): Promise<void> {
  // The limit counts all entries of the queue. What may have been sent, head to head + windowMax - 1, is passed over,
  // and the new message is always taken: a queue may so exceed its limit by the window and one.
  await t.test('drop-oldest drops the oldest beyond the window', async (t) => {
    const a = await makeNode(await open(t, { maxQueuedMessages: 10, windowMax: 4 }));
    const session = await a.claim('c');
    const operations = await a.enqueueMany('c', session.life, 15);
    t.same(
      operations.map((operation) => operation.dropped),
      [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
    );
    t.ok(operations.every((operation) => operation.status === 'queued'));
    const owner = a.owner(session);
    t.same(await present(a, 'c', owner, session.head), [0, 1, 2, 3, 9, 10, 11, 12, 13, 14]);
    const first = session.head;
    await a.ack('c', owner, first + 9, [first, first + 1, first + 2, first + 3]);
    const [more] = await a.enqueueMany('c', session.life, 1);
    t.equal(more?.dropped, 0, 'there is room again');
  });

  await t.test('a window of more than the limit is kept whole', async (t) => {
    const a = await makeNode(await open(t, { maxQueuedMessages: 2, windowMax: 4 }));
    const session = await a.claim('c');
    await a.enqueueMany('c', session.life, 8);
    t.same(await present(a, 'c', a.owner(session), session.head), [0, 1, 2, 3, 7]);
  });

  await t.test('drop-oldest counts bytes', async (t) => {
    const size = bytesOf('x'.repeat(1000));
    const a = await makeNode(await open(t, { maxQueuedBytes: 10 * size, windowMax: 2 }));
    const session = await a.claim('c');
    const text = 'x'.repeat(1000);
    let dropped = 0;
    for (let at = 0; at < 12; at++) dropped += (await a.enqueue('c', session.life, text)).dropped;
    t.equal(dropped, 2);
    const big = await a.enqueue('c', session.life, 'x'.repeat(3 * size));
    t.match(big, { status: 'queued', dropped: 4 }, 'a large one takes the room of several');
    t.same(await present(a, 'c', a.owner(session), session.head), [0, 1, 8, 9, 10, 11, 12]);
  });

  await t.test('reject refuses the new one', async (t) => {
    const a = await makeNode(
      await open(t, { maxQueuedMessages: 3, queueFullPolicy: 'reject', windowMax: 2 }),
    );
    const session = await a.claim('c');
    const mark = { key: markKey('p', 0), mid: 5 };
    await a.enqueueMany('c', session.life, 3);
    t.match(await a.enqueue('c', session.life, 'x', { mark }), { status: 'rejected', dropped: 0 });
    const owner = a.owner(session);
    await a.ack('c', owner, session.head + 1, [session.head]);
    const taken = await a.enqueue('c', session.life, 'x', { mark });
    t.match(taken, { status: 'queued', seq: session.head + 3 }, 'a refused one left no mark and no number');
    t.equal((await a.store.totals()).queuedMessages, 3);
  });

  await t.test('reject counts bytes', async (t) => {
    const size = bytesOf('x'.repeat(1000));
    const a = await makeNode(await open(t, { maxQueuedBytes: 2 * size, queueFullPolicy: 'reject' }));
    const session = await a.claim('c');
    const statuses = [];
    for (let at = 0; at < 3; at++) {
      statuses.push((await a.enqueue('c', session.life, 'x'.repeat(1000))).status);
    }
    t.same(statuses, ['queued', 'queued', 'rejected']);
  });
}

async function ackCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('an ack removes what is done, marks what is released and moves the head', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    await a.enqueueMany('c', session.life, 6);
    const first = session.head;
    for (const times of ['once', 'twice']) {
      const ack = await a.ack('c', owner, first + 1, [first, first + 3], [first + 1]);
      t.match(ack, { status: 'ok', tail: first + 5 }, times);
      const pulled = await a.pull('c', owner, first + 1);
      t.same(pulled.entries[0], PUBREL_ENTRY, times);
      t.same(pulled.texts.slice(1), ['m2', null, 'm4', 'm5'], times);
    }
    t.equal((await a.ack('c', owner, first, [])).status, 'ok');
    t.equal((await a.claim('c')).head, first + 1, 'a head never goes back');
  });

  await t.test('an ack of what the store has lost moves no head over what it has', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const first = session.head;
    for (const qos of [1, 2] as const) await a.enqueue('c', session.life, `m${qos}`, { qos });
    const lost = Array.from({ length: 5 }, (_none, at) => first + 4 + at);
    t.match(await a.ack('c', owner, first + 9, lost, [first + 20]), { status: 'ok', tail: first + 1 });
    t.match(await a.claim('c'), { head: first, tail: first + 1 });
    t.equal((await a.store.totals()).queuedMessages, 2);
    t.match(await a.enqueue('c', session.life, 'x'), { seq: first + 2 });
  });

  await t.test('a queue that was emptied goes on with the next number', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const first = session.head;
    await a.enqueueMany('c', session.life, 3);
    await a.ack('c', owner, first + 3, [first, first + 1, first + 2]);
    t.equal((await a.enqueue('c', session.life, 'x')).seq, first + 3);
    t.equal((await a.store.totals()).queuedMessages, 1);
    t.match(await a.claim('c'), { head: first + 3, tail: first + 3 });
  });
}

async function pullCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a pull keeps to count and bytes', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const first = session.head;
    for (let at = 0; at < 10; at++) await a.enqueue('c', session.life, `${at}`.padEnd(1000, '.'));
    const counted = await a.pull('c', owner, first + 2, 3);
    t.match(counted, { first: first + 2, tail: first + 9 });
    t.same(
      counted.texts.map((text) => text?.[0]),
      ['2', '3', '4'],
    );
    const bounded = await a.pull('c', owner, first, 10, 3000);
    t.ok(bounded.entries.length >= 2 && bounded.entries.length <= 4, `${bounded.entries.length} entries`);
    t.equal((await a.pull('c', owner, first, 10, 1)).entries.length, 1, 'never nothing where something is');
    const beyond = await a.pull('c', owner, first + 10, 10);
    t.match(beyond, { status: 'ok', entries: [], tail: first + 9 });
  });

  await t.test('20,000 messages are drained by pages, in order', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const count = 20_000;
    for (let at = 0; at < count; at += 2000) await a.enqueueMany('c', session.life, 2000, at);
    t.equal((await a.store.totals()).queuedMessages, count);
    let next = session.head;
    let seen = 0;
    while (seen < count) {
      const pulled = await a.pull('c', owner, next, 128);
      t.equal(pulled.first, next);
      const seqs: number[] = [];
      for (const [at, text] of pulled.texts.entries()) {
        if (text !== `m${seen}`) t.fail(`${text} in place of m${seen}`);
        seen++;
        seqs.push(pulled.first + at);
      }
      if (seqs.length === 0) break;
      next += seqs.length;
      await a.ack('c', owner, next, seqs);
    }
    t.equal(seen, count);
    t.equal((await a.store.totals()).queuedMessages, 0);
    t.match(await a.claim('c'), { head: next, tail: next - 1 });
  });
}

async function copyCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('copies of retained messages give way to live ones of their topic', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const session = await a.claim('c');
    const owner = a.owner(session);
    const entry = (text: string) => Buffer.concat([HEADER, Buffer.from(text)]);
    await a.enqueue('c', session.life, 'before', { notedTopic: 'early' });
    const write = { clientId: 'c', owner, rev: 1, row: Buffer.from('row'), reading: Buffer.from('r1') };
    await a.store.writeRow(write);
    await a.enqueue('c', session.life, 'live', { notedTopic: '__proto__' });
    await a.enqueue('c', session.life, 'plain');
    const step = {
      clientId: 'c',
      owner,
      copies: ['early', '__proto__', 'other'].map((topic) => ({ topic, entry: entry(`copy ${topic}`) })),
      reading: Buffer.from('r2'),
    };
    const first = session.head;
    const answer = await a.store.enqueueCopies(step);
    t.same(answer, { status: 'ok', seqs: [first + 3, 0, first + 4], tail: first + 4 });
    t.match(await a.claim('c'), { reading: Buffer.from('r2'), tail: first + 4 });
  });

  await t.test('a step of copies that ran before adds nothing, by the state it leaves', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const copies = [{ topic: 't', entry: Buffer.concat([HEADER, Buffer.from('copy')]) }];
    const none = await a.store.enqueueCopies({ clientId: 'c', owner, copies, reading: null });
    t.match(none, { status: 'ok', seqs: [0] }, 'no reading is under way');
    const write = { clientId: 'c', owner, rev: 1, row: Buffer.from('row'), reading: Buffer.from('r1') };
    await a.store.writeRow(write);
    const step = { clientId: 'c', owner, copies, reading: Buffer.from('r2') };
    t.match(await a.store.enqueueCopies(step), { seqs: [session.head], tail: session.head });
    t.match(await a.store.enqueueCopies(step), { status: 'ok', seqs: [0], tail: session.head });
    const end = { ...step, reading: null };
    t.match(await a.store.enqueueCopies(end), { seqs: [session.head + 1], tail: session.head + 1 });
    t.match(await a.store.enqueueCopies(end), { status: 'ok', seqs: [0], tail: session.head + 1 });
    t.same((await a.pull('c', owner, session.head)).texts, ['copy', 'copy']);
  });

  await t.test('a reading that begins with a step of copies is noted for, too', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const begin = { clientId: 'c', owner, copies: [], reading: Buffer.from('r1') };
    t.match(await a.store.enqueueCopies(begin), { status: 'ok' });
    await a.enqueue('c', session.life, 'live', { notedTopic: 't' });
    const copies = [{ topic: 't', entry: Buffer.concat([HEADER, Buffer.from('copy')]) }];
    t.match(await a.store.enqueueCopies({ clientId: 'c', owner, copies, reading: null }), { seqs: [0] });
    t.same((await a.pull('c', owner, session.head)).texts, ['live']);
  });

  await t.test('noted topics are forgotten with the reading', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const copies = [{ topic: 't', entry: Buffer.concat([HEADER, Buffer.from('copy')]) }];
    const begin = (rev: number) =>
      a.store.writeRow({
        clientId: 'c',
        owner,
        rev,
        row: Buffer.from('row'),
        reading: Buffer.from(`r${rev}`),
      });
    await begin(1);
    await a.enqueue('c', session.life, 'live', { notedTopic: 't' });
    t.match(await a.store.enqueueCopies({ clientId: 'c', owner, copies, reading: null }), { seqs: [0] });
    t.equal((await a.claim('c')).reading, null);
    const heir = a.owner(await a.claim('c'));
    const write = { clientId: 'c', owner: heir, rev: 2, row: Buffer.from('row'), reading: Buffer.from('r2') };
    t.equal(await a.store.writeRow(write), 'ok');
    const answer = await a.store.enqueueCopies({ clientId: 'c', owner: heir, copies, reading: null });
    t.match(answer, { status: 'ok', seqs: [session.head + 1] });
  });
}
