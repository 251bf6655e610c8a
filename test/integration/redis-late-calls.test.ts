// A call whose connection was cut may reach Redis late, behind its repetition and what came after that. What the owner of
// a session alone changes is not changed by it. (Its clock says which call it wrote first: here one that is behind.)

import t from 'tap';
import { Receptions } from '../../src/store/receptions.ts';
import { systemClock } from '../../src/util/clock.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { makeRedisNode } from './redis-world.ts';

const server = await startRedis(t);
const behind = { ...systemClock, monotonicMs: () => 5 };

t.test('acknowledgements and receptions of a late call change nothing', async (t) => {
  const a = await makeRedisNode(t, server.url);
  const late = await makeRedisNode(t, server.url, { clock: behind });
  const session = await a.claim('c');
  const owner = a.owner(session);
  await a.enqueueMany('c', session.life, 8);
  await a.enqueueMany('c', session.life, 8);
  const first = new Receptions([]);
  // The first call is written by the clock that is behind: it is the late one, when it comes again.
  t.equal((await late.ack('c', owner, 4, [1, 2, 3])).status, 'ok');
  t.equal((await late.recordInbound('c', owner, first, 1)).status, 'ok');
  const known = new Receptions(first.kept());
  t.equal((await a.ack('c', owner, 11, [4, 5, 6, 7, 8, 9, 10])).status, 'ok');
  t.equal((await a.recordInbound('c', owner, known, 2)).status, 'ok');
  t.equal((await late.ack('c', owner, 4, [1, 2, 3])).status, 'fenced');
  const again = first.get(1);
  if (again) again.mid = 0;
  t.equal((await late.recordInbound('c', owner, first, 1)).status, 'fenced');
  t.equal((await late.forgetInbound('c', owner, first, 1)).status, 'fenced');
  t.equal((await a.ack('c', owner, 17, [11, 12, 13, 14, 15, 16])).status, 'ok');
  t.same(
    await a.store.totals().then(({ queuedMessages, queuedBytes }) => [queuedMessages, queuedBytes]),
    [0, 0],
  );
  const claimed = await a.claim('c');
  t.same(
    claimed.inbound.map(({ packetId, mid }) => [packetId, mid]),
    known.kept().map(({ packetId, mid }) => [packetId, mid]),
  );
  t.equal(claimed.head, 17);
  t.equal((await late.ack('c', late.owner(session), 18, [])).status, 'fenced', 'of an owner before');
  const heir = { incarnation: a.incarnation, epoch: claimed.epoch };
  t.equal((await late.ack('c', heir, 17, [])).status, 'ok', 'another owner has a clock of its own');
});

t.test('the clock of an owner before does not rule the one that writes its claim back', async (t) => {
  const before = await makeRedisNode(t, server.url);
  const after = await makeRedisNode(t, server.url, { clock: behind });
  const session = await before.claim('d');
  await before.enqueueMany('d', session.life, 2);
  t.equal((await before.ack('d', before.owner(session), 2, [1])).status, 'ok');
  const owner = { incarnation: after.incarnation, epoch: session.epoch + 1 };
  const lost = {
    clientId: 'd',
    owner,
    life: session.life,
    rev: 0,
    row: null,
    expirySec: 60,
    receptions: null,
  };
  t.equal(await after.store.restore(lost), 'ok');
  t.equal((await after.ack('d', owner, 3, [2])).status, 'ok');
});

t.test('a claim that is written back late brings no receptions back', async (t) => {
  const a = await makeRedisNode(t, server.url);
  const late = await makeRedisNode(t, server.url, { clock: behind });
  const session = await a.claim('e');
  const owner = a.owner(session);
  const known = new Receptions([]);
  await a.recordInbound('e', owner, known, 1);
  const before = new Receptions(known.kept());
  const claim = { clientId: 'e', owner, life: session.life, rev: 0, row: null, expirySec: 60 };
  t.equal(await a.store.restore({ ...claim, receptions: known }), 'ok');
  await a.forgetInbound('e', owner, known, 1);
  await a.recordInbound('e', owner, known, 2);
  t.equal(await late.store.restore({ ...claim, receptions: before }), 'fenced');
  const { inbound } = await a.claim('e');
  t.same(
    inbound.map(({ packetId }) => packetId),
    [2],
  );
});

t.test('a marker within the hole of a jump is found, sent and removed', async (t) => {
  const a = await makeRedisNode(t, server.url);
  for (const clientId of ['with-runs', 'without']) {
    const session = await a.claim(clientId);
    const owner = a.owner(session);
    if (clientId === 'with-runs') await a.enqueueMany(clientId, session.life, 8);
    else for (let at = 0; at < 8; at++) await a.enqueue(clientId, session.life, `m${at}`);
    // Another history: the next touch jumps. What the client had released lies behind the tail that is left.
    const [key] = (await server.command('KEYS', `*:s:${clientId}`)) as [string];
    const forget =
      "local s = redis.call('HGET', KEYS[1], 's'); redis.call('HSET', KEYS[1], 's', string.sub(s, 1, -3) .. 'Z\\0')";
    await server.command('EVAL', forget, 1, key);
    t.equal((await a.ack(clientId, owner, 1, [], [12])).status, 'ok');
    const { first, entries } = await a.pull(clientId, owner, 9, 2);
    t.same([first, entries[0]?.length], [12, 2], 'not passed over');
    const more = await a.enqueueMany(clientId, session.life, 3);
    const told = Array.from({ length: 12 }, (_, index) => index + 1);
    t.equal((await a.ack(clientId, owner, more[0]!.seq, told)).status, 'ok');
    t.equal((await a.store.totals()).queuedMessages, 3);
    t.same(
      (await a.pull(clientId, owner, 1)).texts.filter((text) => text !== null),
      ['m0', 'm1', 'm2'],
    );
    await a.ack(
      clientId,
      owner,
      more[0]!.seq + 3,
      more.map(({ seq }) => seq),
    );
  }
});
