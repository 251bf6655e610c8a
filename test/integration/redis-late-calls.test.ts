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
