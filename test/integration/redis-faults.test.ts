// What the Redis store makes of cut connections, a restarted, frozen or full server, lost scripts and servers that do not
// fit: everything is answered in the end, in order, and nothing is answered that is not there.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import type { CompiledDurability } from '../../src/config/compile.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { SAME_TIME_MS } from '../../src/store/store.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/net-proxy.ts';
import { freePort, temporaryFolder } from '../helpers/owner.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { drain, firsts, makeRedisNode, openRedisStore, redisOptions, silentEvents } from './redis-world.ts';
import { type ContractNode, Enqueue, run, willOf } from './store-world.ts';

/** Enqueues until `stop`; answers the texts in the order of their submission. */
function publisher(node: ContractNode, clientId: string, life: number) {
  const texts: string[] = [];
  const statuses = new Set<string>();
  let isStopped = false;
  const done = (async () => {
    for (let at = 0; !isStopped; at++) {
      const batch = Array.from({ length: 20 }, (_none, more) => `${at * 20 + more}`);
      texts.push(...batch);
      const answers = await Promise.all(
        batch.map((text) => run(node.store, new Enqueue(clientId, life, text))),
      );
      for (const { status } of answers) statuses.add(status);
    }
  })();
  return {
    texts,
    async stop() {
      isStopped = true;
      await done;
      return statuses;
    },
  };
}

async function burst(server: RedisServer, times: number): Promise<void> {
  for (let at = 0; at < times; at++) {
    await new Promise((resolve) => setTimeout(resolve, 40));
    await server.clientKill('normal');
  }
}

t.test('connections cut under load: everything is queued, in order', async (t) => {
  const server = await startRedis(t);
  const a = await makeRedisNode(t, server.url);
  const sessions = await Promise.all(['x', 'y', 'z'].map((name) => a.claim(name)));
  const publishers = ['x', 'y', 'z'].map((name, at) => publisher(a, name, sessions[at]!.life));
  await burst(server, 25);
  for (const one of publishers) t.same([...(await one.stop())], ['queued']);
  for (const [at, name] of ['x', 'y', 'z'].entries()) {
    t.same(firsts(await drain(a, name)), publishers[at]!.texts, `${name}: first occurrences in order`);
  }
});

t.test('control calls that were cut are answered once, with the answer of their first run', async (t) => {
  const server = await startRedis(t);
  const a = await makeRedisNode(t, server.url);
  let isStopped = false;
  const cutting = (async () => {
    while (!isStopped) await burst(server, 1);
  })();
  for (let at = 0; at < 150; at++) {
    const clientId = `c${at % 5}`;
    const will = { qos: 1 as const, retain: false, delaySec: 0, body: Buffer.from(`${at}`) };
    const claimed = await a.claim(clientId, { cleanStart: true, will });
    const wills = claimed.wills.map((taken) => taken.will.body.toString());
    if (wills.length > 0) t.fail(`claim ${at} took ${wills.join()}`);
    if (claimed.present) t.fail(`claim ${at} found a session`);
    const request = { clientId, owner: a.owner(claimed), dropWill: false, expirySec: 0, sent: 0 };
    const released = await a.store.release(request);
    if (released.status !== 'ok') {
      t.fail(`release ${at} was ${released.status}`);
      continue;
    }
    if (released.endedLife !== claimed.life) t.fail(`release ${at} ended ${released.endedLife}`);
    if (released.wills[0]?.will.body.toString() !== `${at}`) t.fail(`release ${at} took no will`);
    for (const { id } of released.wills) await a.store.finishWill(clientId, id);
  }
  isStopped = true;
  await cutting;
  t.match(await a.store.totals(), { sessions: 0, queuedMessages: 0 });
});

t.test('a restarted server: no number twice, the hole is passed over, caches are told', async (t) => {
  const server = await startRedis(t, { appendonly: true, appendfsync: 'always' });
  const a = await makeRedisNode(t, server.url);
  const session = await a.claim('c');
  const empty = await a.claim('empty');
  const before = await a.enqueueMany('c', session.life, 10);
  await server.kill();
  await eventually('the loss is told', () => !a.store.isAvailable());
  const waiting = a.enqueueMany('c', session.life, 10, 10);
  await server.start();
  const after = await waiting;
  t.ok(a.histories >= 1, 'another history id');
  // The lane may answer before the connection beside it stands.
  await eventually('the store is available', () => a.store.isAvailable());
  t.ok(after[0]!.seq > before.at(-1)!.seq + 25_000, `${after[0]!.seq} after ${before.at(-1)!.seq}`);
  const owner = a.owner(session);
  const first = await a.pull('c', owner, session.head, 100);
  t.same(
    first.texts.filter((text) => text !== null),
    before.map((_none, at) => `m${at}`),
  );
  const beyond = await a.pull('c', owner, session.head + 10, 100);
  t.equal(beyond.first, after[0]!.seq, 'a pull in the hole goes on behind it');
  t.same(
    beyond.texts,
    after.map((_none, at) => `m${at + 10}`),
  );
  const only = await a.enqueue('empty', empty.life, 'only');
  const read = await a.pull('empty', a.owner(empty), empty.head, 100);
  t.same(
    [read.first, read.texts],
    [only.seq, ['only']],
    'an empty queue has no hole, but a head that is far',
  );
  t.same(a.availability, [true, false, true]);
});

t.test('a full queue drops its oldest across the hole that a restart has left', async (t) => {
  const server = await startRedis(t, { appendonly: true, appendfsync: 'always' });
  const limits = { maxQueuedMessages: 6, windowMax: 2 };
  const a = await makeRedisNode(t, server.url, { limits });
  const session = await a.claim('c');
  await a.enqueueMany('c', session.life, 4);
  await server.kill();
  await eventually('the loss is told', () => !a.store.isAvailable());
  const waiting = a.enqueueMany('c', session.life, 4, 4);
  await server.start();
  const across = [...(await waiting), ...(await a.enqueueMany('c', session.life, 4, 8))];
  t.same(
    across.map(({ dropped }) => dropped),
    [0, 0, 1, 1, 1, 1, 1, 1],
  );
  t.equal((await a.store.totals()).queuedMessages, 6);
  const owner = a.owner(session);
  t.same((await a.pull('c', owner, session.head, 4)).texts, ['m0', 'm1', null, null]);
  const behind = await a.pull('c', owner, session.head + 4, 100);
  t.same(behind.texts, ['m8', 'm9', 'm10', 'm11']);
});

t.test('both connections are to one server, whichever of them first finds another one', async (t) => {
  for (const purpose of ['lane', 'side']) {
    const [old, other] = [await startRedis(t), await startRedis(t)];
    const proxy = await startProxy(t, old.port);
    const a = await makeRedisNode(t, `redis://127.0.0.1:${proxy.port}`);
    proxy.targetPort = other.port;
    const clients = String(await old.command('CLIENT', 'LIST')).split('\n');
    const line = clients.find((one) => one.includes(`name=test-${purpose} `))!;
    await old.command('CLIENT', 'KILL', 'ID', /^id=(\d+)/.exec(line)![1]!);
    await eventually(`the other server is noticed (${purpose})`, () => a.histories > 0);
    await eventually('and nobody is left at the old one', async () => {
      return !/name=test-(lane|side) /.test(String(await old.command('CLIENT', 'LIST')));
    });
    await a.store.renew(a.incarnation, 1000);
    const session = await a.claim('c');
    t.equal((await a.enqueue('c', session.life, 'x')).status, 'queued', purpose);
  }
});

t.test('a claim whose answer was lost does not take back what others have claimed since', async (t) => {
  const server = await startRedis(t);
  const proxy = await startProxy(t, server.port);
  const a = await makeRedisNode(t, `redis://127.0.0.1:${proxy.port}`);
  const b = await makeRedisNode(t, server.url);
  proxy.delayMs = 300;
  const late = a.claim('c', { will: willOf('of a') });
  late.catch(() => {});
  await eventually('it has run', async () => {
    return ((await server.command('KEYS', `*:held:${a.incarnation}`)) as string[]).length > 0;
  });
  proxy.refusing = true;
  proxy.cut();
  proxy.delayMs = 0;
  const first = await b.claim('c', { will: willOf('of b') });
  const second = await b.claim('c', { cleanStart: true });
  proxy.refusing = false;
  await t.rejects(late, { message: 'claim of c: overtaken' });
  const request = { clientId: 'c', owner: b.owner(second), dropWill: false, expirySec: 0, sent: 0 };
  t.match(
    await b.store.release(request),
    { status: 'ok', wills: [] },
    'nothing of it is there, nor its will again',
  );
  t.ok(second.epoch > first.epoch);
});

t.test('a claim that waited for Redis takes nothing from one whose CONNECT came later', async (t) => {
  const server = await startRedis(t);
  const proxy = await startProxy(t, server.port);
  const a = await makeRedisNode(t, `redis://127.0.0.1:${proxy.port}`);
  const b = await makeRedisNode(t, server.url);
  proxy.refusing = true;
  proxy.cut();
  const cameMs = performance.now();
  const late = a.claim('c', { cleanStart: true, waitedMs: () => performance.now() - cameMs });
  late.catch(() => {});
  await eventually('they do not come at the same time', () => performance.now() - cameMs > 3 * SAME_TIME_MS);
  const first = await b.claim('c', { will: willOf('of b') });
  proxy.refusing = false;
  await t.rejects(late, { message: 'claim of c: overtaken' });
  const request = { clientId: 'c', owner: b.owner(first), dropWill: false, expirySec: 3600, sent: 0 };
  t.match(await b.store.release(request), { status: 'ok', endedLife: 0 }, 'it is there, and its own still');
});

t.test('a frozen server holds everything and goes on', async (t) => {
  const server = await startRedis(t);
  const a = await makeRedisNode(t, server.url);
  const session = await a.claim('c');
  const load = publisher(a, 'c', session.life);
  await eventually('some load', () => load.texts.length > 100);
  server.pause();
  await eventually('it is told', () => !a.store.isAvailable());
  server.resume();
  await eventually('and told', () => a.store.isAvailable());
  t.same([...(await load.stop())], ['queued']);
  t.same(firsts(await drain(a, 'c')), load.texts);
});

t.test('scripts that the server lost are loaded again', async (t) => {
  const server = await startRedis(t);
  const a = await makeRedisNode(t, server.url);
  const session = await a.claim('c');
  await server.command('SCRIPT', 'FLUSH');
  t.equal((await a.enqueue('c', session.life, 'x')).status, 'queued');
  await server.command('SCRIPT', 'FLUSH');
  await a.store.renew(a.incarnation, 1000);
  t.equal((await a.claim('c')).tail, session.tail + 1);
});

t.test(
  'interleaving 19: a full server, messages wait, acks, claims and leases go on, and room lets all go on',
  async (t) => {
    const server = await startRedis(t, { maxmemory: '12mb' });
    const a = await makeRedisNode(t, server.url);
    const session = await a.claim('c');
    const owner = a.owner(session);
    const text = 'x'.repeat(10_000);
    const queued: Enqueue[] = [];
    let waiting: Promise<Enqueue> | null = null;
    for (let at = 0; at < 2000 && !waiting; at++) {
      const one = run(a.store, new Enqueue('c', session.life, text));
      const answered = await Promise.race([
        one,
        new Promise<null>((resolve) => setTimeout(() => resolve(null), 600)),
      ]);
      if (answered) queued.push(answered);
      else waiting = one;
    }
    t.ok(waiting, `full after ${queued.length}`);
    const retained = a.retain('t', text);
    const claimed = await a.claim('other');
    t.equal(claimed.status, 'claimed');
    await a.store.renew(a.incarnation, 60_000);
    t.equal((await a.sendInbox(a.incarnation, 'takeover')).status, 'ok');
    t.ok((await a.store.appendLog(a.incarnation, [{ payload: Buffer.from('x'), routes: [] }], 0))[0]! > 0);
    const half = queued.slice(0, queued.length / 2);
    const ack = await a.ack(
      'c',
      owner,
      half.at(-1)!.seq + 1,
      half.map(({ seq }) => seq),
    );
    t.equal(ack.status, 'ok');
    t.equal((await waiting)?.status, 'queued');
    t.equal((await retained).status, 'ok');
    t.ok(a.store.isAvailable());
  },
);

t.test(
  'interleaving 5: a frozen replica, nothing is answered, also not a repetition that finds everything done',
  async (t) => {
    const server = await startRedis(t);
    const replica = await startRedis(t, { replicaOf: server });
    const durability = { level: 'replicas', replicas: 1, timeoutMs: 200 } as const;
    await eventually(
      'the replica is there',
      async () => (await server.info()).get('connected_slaves') === '1',
    );
    const a = await makeRedisNode(t, server.url, { durability });
    const session = await a.claim('c');
    const mark = { key: '0:p', mid: 5 };
    t.equal((await a.enqueue('c', session.life, 'x', { mark })).status, 'queued');
    replica.pause();
    let answers = 0;
    const note = <T>(value: T): T => {
      answers++;
      return value;
    };
    const all = [
      a.enqueue('c', session.life, 'x', { mark }).then(note),
      a.enqueue('gone', 1, 'x').then(note),
      a.retain('t', null).then(note),
      a.claim('other').then(note),
    ];
    await a.store.renew(a.incarnation, 60_000);
    await eventually('the operator is told', () => !a.store.isAvailable());
    await a.store.renew(a.incarnation, 60_000);
    t.equal(answers, 0, 'leases go on, nothing else is answered');
    replica.resume();
    const [repeated] = await Promise.all(all);
    t.match(repeated, { status: 'duplicate' });
    await eventually('and told', () => a.store.isAvailable());
  },
);

t.test('an inbox whose reader is cut loses nothing', async (t) => {
  const server = await startRedis(t);
  const a = await makeRedisNode(t, server.url);
  const b = await makeRedisNode(t, server.url);
  const sent: string[] = [];
  let isOver = false;
  const cutting = burst(server, 20).then(() => {
    isOver = true;
  });
  while (!isOver) {
    const text = `${sent.length}`;
    sent.push(text);
    t.equal((await b.sendInbox(a.incarnation, text)).status, 'ok');
  }
  await cutting;
  t.ok(sent.length > 0, `${sent.length} entries`);
  await a.store.waitInbox(await a.store.inboxEnd());
  t.same(firsts(a.inbox), sent);
  t.equal(a.gaps, 0);
  await eventually('what was read is trimmed', async () => {
    const length = await server.command('XLEN', `test:{n${a.incarnation}}:inbox`);
    return Number(length) <= 1;
  });
});

t.test('an inbox that the server lost is made anew, and the gap is told', async (t) => {
  const server = await startRedis(t);
  const a = await makeRedisNode(t, server.url);
  const b = await makeRedisNode(t, server.url);
  await b.sendInbox(a.incarnation, 'before');
  await eventually('it is read', () => a.inbox.length === 1);
  await server.restart();
  // A trim that was under way tells of it too, and may do so before the inbox is there again.
  await eventually('the gap is told', () => a.gaps > 0);
  await eventually('it takes entries', async () => {
    return (await b.sendInbox(a.incarnation, 'after')).status === 'ok';
  });
  await eventually('it goes on', () => a.inbox.at(-1) === 'after');
});

t.test('an operation that nobody wants any more is not repeated', async (t) => {
  const server = await startRedis(t);
  const a = await makeRedisNode(t, server.url);
  const session = await a.claim('c');
  let isSent = false;
  class Unwanted extends Enqueue {
    override seal(): void {
      isSent = true;
    }
    override isWanted(): boolean {
      return false;
    }
  }
  server.pause();
  const unwanted = new Unwanted('c', session.life, 'unwanted');
  let isComplete = false;
  unwanted.settle = () => {
    isComplete = true;
  };
  a.store.submit(unwanted);
  // Behind the claim its batch may wait a moment; one that was never sent would be wanted.
  await eventually('it has left', () => isSent);
  await server.kill();
  await server.start();
  await eventually('it is back', () => a.store.isAvailable());
  await a.claim('c');
  t.equal(isComplete, false);
  t.equal(a.store.lanePending(0), 0);
});

t.test('close fails what is not answered', async (t) => {
  const server = await startRedis(t);
  const a = await makeRedisNode(t, server.url);
  const session = await a.claim('c');
  server.pause();
  const waiting: Promise<unknown>[] = [
    a.enqueue('c', session.life, 'x'),
    a.claim('c'),
    a.store.renew(a.incarnation, 1000),
    a.store.inspect(['c']),
  ];
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  await a.store.close();
  for (const one of waiting) await t.rejects(() => one);
  server.resume();
});

t.test('a server that cannot be reached is waited for', async (t) => {
  const server = await startRedis(t);
  await server.kill();
  const lines: string[] = [];
  const log = (_level: string, message: string) => lines.push(message);
  const store = new RedisStore(redisOptions(server.url, { log }));
  t.teardown(() => store.close());
  const opened = store.open(silentEvents());
  await eventually('it is told', () => lines.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.same(lines, ['the store cannot be used'], 'one line for each change');
  await server.start();
  await opened;
  t.same(lines, ['the store cannot be used', 'the store can be used']);
  t.equal(store.isAvailable(), true);
});

t.test('a server that does not fit is refused with one sentence', async (t) => {
  const evicting = await startRedis(t, { config: { 'maxmemory-policy': 'allkeys-lru' } });
  const attempt = (url: string, durability: Partial<CompiledDurability> = {}) => {
    const store = new RedisStore(redisOptions(url, { durability }));
    t.teardown(() => store.close());
    return store.open(silentEvents());
  };
  await t.rejects(attempt(evicting.url), { code: 'SWARMQ_ERR_STORE_UNFIT', message: /noeviction/ });
  const plain = await startRedis(t);
  const version = String((await plain.info('server')).get('redis_version'));
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 7 || (major === 7 && minor < 2)) {
    const fsync = attempt(plain.url, { level: 'fsync', replicas: 0 });
    await t.rejects(fsync, { code: 'SWARMQ_ERR_STORE_UNFIT', message: /WAITAOF/ });
  }
  const cluster = attempt(plain.url.replace('redis://', 'redis+cluster://'));
  await t.rejects(cluster, { code: 'SWARMQ_ERR_STORE_UNFIT', message: /not part of a Redis Cluster/ });
});

t.test('a password and an ACL user; a wrong one is told and waited out', async (t) => {
  const server = await startRedis(t);
  await server.command('ACL', 'SETUSER', 'swarmq', 'on', '>secret', '~test:*', '&*', '+@all');
  await server.command('ACL', 'SETUSER', 'default', 'resetkeys', '-@all', '+ping', '+client', '+acl');
  const store = await openRedisStore(t, server.url, { redis: { username: 'swarmq', password: 'secret' } });
  t.equal(store.isAvailable(), true);
  t.equal(await store.logVersion(), 0);
  const reasons: unknown[] = [];
  const wrong = new RedisStore(
    redisOptions(server.url, {
      redis: { username: 'swarmq', password: 'wrong' },
      log: (_level, _message, fields) => reasons.push(fields?.reason),
    }),
  );
  wrong.open(silentEvents()).catch(() => {});
  await eventually('it is told', () => reasons.length > 0);
  t.match(String(reasons[0]), /WRONGPASS/);
  await wrong.close();
});

t.test('TLS, with a certificate that is trusted and without', async (t) => {
  const folder = temporaryFolder(t, 'redis-tls');
  const file = (name: string) => join(folder, name);
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const made = spawnSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ].concat(['-keyout', file('key.pem'), '-out', file('cert.pem')], names),
  );
  if (made.status !== 0) throw new Error(String(made.stderr));
  const tlsPort = await freePort();
  await startRedis(t, {
    config: {
      'tls-port': String(tlsPort),
      'tls-cert-file': file('cert.pem'),
      'tls-key-file': file('key.pem'),
      'tls-ca-cert-file': file('cert.pem'),
      'tls-auth-clients': 'no',
    },
  });
  const url = `rediss://127.0.0.1:${tlsPort}`;
  const tls = { caFile: file('cert.pem'), certFile: undefined, keyFile: undefined, rejectUnauthorized: true };
  const store = await openRedisStore(t, url, { redis: { tls } });
  t.equal(await store.logVersion(), 0);
  const reasons: unknown[] = [];
  const wary = new RedisStore(
    redisOptions(url, { log: (_level, _message, fields) => reasons.push(fields?.reason) }),
  );
  wary.open(silentEvents()).catch(() => {});
  await eventually('it is told', () => reasons.length > 0);
  t.match(String(reasons[0]), /certificate/);
  await wary.close();
});
