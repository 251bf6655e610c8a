// The pure parts of the Redis store: how commands are written, which slot and bucket a name has, what a refusal means,
// which server does not fit.

import fc from 'fast-check';
import t from 'tap';
import { findMisfit } from '../../src/store/redis/fitness.ts';
import {
  bucketOf,
  hashText,
  Keyspace,
  payloadBucketOf,
  SESSION_KEYS,
  shardOf,
} from '../../src/store/redis/keyspace.ts';
import { CLUSTER_SLOT, slotOfReceiver } from '../../src/store/redis/receiver-slot.ts';
import { classifyRefusal } from '../../src/store/redis/refusal.ts';
import { type Argument, CommandWriter, encodeArguments, encodeCommand } from '../../src/store/redis/resp.ts';
import { readClusterSlots, slotOf } from '../../src/store/redis/slots.ts';
import { redisOptions } from '../integration/redis-world.ts';

/** The plain reference: one buffer for each word. */
function encodePlainly(words: readonly Argument[]): Buffer {
  const parts = words.flatMap((word) => {
    const bytes = Buffer.isBuffer(word) ? word : Buffer.from(String(word));
    return [Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')];
  });
  return Buffer.concat([Buffer.from(`*${words.length}\r\n`), ...parts]);
}

const argument: fc.Arbitrary<Argument> = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  fc.constantFrom(0, 9, 10, 99, 100),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  fc.integer({ min: 0, max: 200_000 }).map((length) => Buffer.alloc(length, length)),
);

t.test('commands are written as the protocol says, whatever their size', async (t) => {
  const writer = new CommandWriter();
  const commands = fc.array(fc.array(argument, { minLength: 1, maxLength: 12 }), { maxLength: 8 });
  fc.assert(
    fc.property(commands, (batch) => {
      for (const words of batch) {
        writer.begin();
        for (const word of words) writer.argument(word);
        writer.end();
      }
      const written = writer.take();
      batch.forEach((words, index) => {
        const wanted = encodePlainly(words);
        if (!wanted.equals(written[index]!)) throw new Error(`written differently: ${words.length} words`);
        if (!wanted.equals(encodeCommand(...words))) throw new Error('encoded differently');
      });
    }),
    { numRuns: 200 },
  );
  t.pass('as the reference');
});

t.test(
  'the keys of a session are written as they are made one by one, in the order of the scripts',
  async (t) => {
    const keyspace = new Keyspace('präfix');
    for (const clientId of ['', 'a', 'sensor-12', 'gerät\u{1f600}', 'x'.repeat(200)]) {
      const bucket = bucketOf(clientId);
      const keys: Record<(typeof SESSION_KEYS)[number], string> = {
        meta: keyspace.meta(clientId),
        queue: keyspace.queue(clientId),
        marks: keyspace.marks(clientId),
        notes: keyspace.notes(clientId),
        inbound: keyspace.inbound(clientId),
        orphans: keyspace.meta(clientId).replace('}:s:', '}:o:'),
        held: keyspace.held(bucket, 'node-1'),
        rows: keyspace.rows(bucket),
        wills: keyspace.rows(bucket).replace(/rows$/, 'wills'),
        readings: keyspace.rows(bucket).replace(/rows$/, 'readings'),
        due: keyspace.due(bucket),
        taken: keyspace.taken(bucket),
        takenAt: keyspace.takenAt(bucket),
        marked: keyspace.marked(bucket),
        counts: keyspace.counts(bucket),
        orphaned: keyspace.orphaned(bucket),
      };
      const writer = new CommandWriter();
      // Twice: what the sessions of a bucket share is kept.
      for (let round = 0; round < 2; round++) {
        writer.begin();
        keyspace.writeSession(writer, clientId, 'node-1');
        writer.end();
        t.same(
          writer.take()[0]!.toString(),
          encodePlainly(SESSION_KEYS.map((name) => keys[name])).toString(),
        );
      }
    }
  },
);

t.test('what was written stays as it is while the next batch is written', async (t) => {
  const writer = new CommandWriter();
  const batches: { written: Buffer[]; wanted: Buffer }[] = [];
  for (let round = 0; round < 50; round++) {
    const body = Buffer.alloc(5000, round);
    writer.begin();
    writer.joined(body.subarray(0, 100), body.subarray(100));
    writer.arguments(encodeArguments(['ü', 'b']), 2);
    writer.end();
    batches.push({ written: writer.take(), wanted: encodePlainly([body, 'ü', 'b']) });
  }
  t.ok(batches.every(({ written, wanted }) => written.length === 1 && wanted.equals(written[0]!)));
});

t.test('slots and buckets: part of the stored format', async (t) => {
  t.equal(slotOf('123456789'), 0x31c3 % 16_384, 'the value of the Redis Cluster specification');
  t.equal(slotOf('foo'), 12_182);
  t.same(['', 'a', 'client-1', 'größe/日本'].map(hashText), [2166202364, 3826114868, 3136937241, 182461038]);
  t.same([bucketOf('client-1'), shardOf('a/b'), payloadBucketOf('p1')], [25, 13, 39]);
  t.equal(slotOfReceiver('sx'), slotOf(`b${bucketOf('x')}`));
  t.equal(slotOfReceiver('rx'), slotOf(`r${shardOf('x')}`));
  t.equal(slotOfReceiver('px'), slotOf(`p${payloadBucketOf('x')}`));
  t.equal(slotOfReceiver('nx'), slotOf('nx'));
  t.equal(slotOfReceiver('l'), CLUSTER_SLOT);
  t.same(
    readClusterSlots([[0, 10, [Buffer.from(''), 7000, Buffer.from('id')]]], 'asked'),
    [{ from: 0, to: 10, host: 'asked', port: 7000 }],
    'a server that does not know its own host',
  );
});

t.test('what an error means', async (t) => {
  const reply = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' });
  for (const [message, refusal] of [
    ['LOADING Redis is loading the dataset in memory', 'passing'],
    ['BUSY Redis is busy running a script', 'passing'],
    ['TRYAGAIN Multiple keys request during rehashing of slot', 'passing'],
    ['MASTERDOWN Link with MASTER is down', 'passing'],
    ['MOVED 3999 127.0.0.1:6381', 'moved'],
    ['ASK 3999 127.0.0.1:6381', 'moved'],
    ['CLUSTERDOWN The cluster is down', 'moved'],
    ["READONLY You can't write against a read only replica.", 'demoted'],
    ['ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 ...', 'demoted'],
    ["ERR The user executing the script can't run this command or subcommand script: 1f", 'passing'],
    ["ERR ACL failure in script: User default has no permissions to run the 'hset' command", 'passing'],
    [
      'ERR Error running script (call to f_1f): @user_script:4: -MISCONF Redis is configured to save',
      'passing',
    ],
    ['ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.', 'passing'],
    ['ERR WAITAOF cannot be used with replica instances. Please also note that writes ...', 'demoted'],
    ['NOSCRIPT No matching script.', 'no-script'],
    ["OOM command not allowed when used memory > 'maxmemory'.", 'memory'],
    ['WRONGTYPE Operation against a key holding the wrong kind of value', 'broken'],
    ['ERR user_script:12: attempt to index a nil value', 'broken'],
  ]) {
    t.equal(classifyRefusal(reply(message!)), refusal, message);
  }
  t.equal(classifyRefusal(new Error('Connection is closed.')), 'passing');
});

t.test('which server fits', async (t) => {
  const { redis, durability } = redisOptions('redis://127.0.0.1');
  const facts = {
    version: '6.2.0',
    isCluster: false,
    isMaster: true,
    evictionPolicy: 'noeviction',
    hasAppendOnlyFile: true,
    history: 'x',
  };
  const fsync = { ...durability, level: 'fsync' } as const;
  t.equal(findMisfit(facts, redis, durability), null);
  t.match(findMisfit({ ...facts, version: '6.0.20' }, redis, durability), /too old/);
  t.match(findMisfit({ ...facts, version: '7.0.15' }, redis, fsync), /WAITAOF/);
  t.equal(findMisfit({ ...facts, version: '7.2.0' }, redis, fsync), null);
  const withoutFile = { ...facts, version: '7.2.0', hasAppendOnlyFile: false };
  t.match(findMisfit(withoutFile, redis, fsync), /set appendonly to yes/);
  t.equal(findMisfit(withoutFile, redis, durability), null);
  t.equal(findMisfit({ ...facts, version: '10.0.0' }, redis, fsync), null);
  t.match(findMisfit({ ...facts, evictionPolicy: 'volatile-lru' }, redis, durability), /noeviction/);
  t.match(findMisfit({ ...facts, isCluster: true }, redis, durability), /redis\+cluster/);
});
