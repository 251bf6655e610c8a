// Stored values: what is encoded comes back, and what is cut short or of another version is refused with a code.

import fc from 'fast-check';
import t from 'tap';
import {
  decodeEntry,
  decodeReference,
  decodeRetained,
  decodeRow,
  decodeWill,
  encodeEntryHeader,
  encodeReference,
  encodeRetained,
  encodeRow,
  encodeWill,
  markKey,
  PUBREL_ENTRY,
} from '../../src/store/records.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 40 });
const bytes = fc.uint8Array({ maxLength: 200 }).map((some) => Buffer.from(some));
const qos = fc.constantFrom<0 | 1 | 2>(0, 1, 2);
const time = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const stamp = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const identifier = fc.integer({ min: 1, max: 268_435_455 });

const header = fc.record({
  qos,
  retain: fc.boolean(),
  expiresAt: time,
  ownExpiry: fc.boolean(),
  reference: fc.boolean(),
  copy: fc.boolean(),
  writesRetained: fc.boolean(),
  subscriptionIds: fc.oneof(fc.constant(null), fc.array(identifier, { minLength: 1, maxLength: 255 })),
  group: fc.oneof(
    fc.constant(null),
    text.map((filter) => `$share/g/${filter}`),
  ),
});

t.test('a queue entry comes back as it went', async (t) => {
  fc.assert(
    fc.property(header, bytes, (given, body) => {
      const entry = decodeEntry(Buffer.concat([encodeEntryHeader(given), body]));
      t.same(entry, { ...given, pubrel: false, body });
    }),
    { numRuns: 200 },
  );
});

t.test('a row of subscriptions comes back as it went', async (t) => {
  const subscription = fc.record({
    filter: text,
    qos,
    noLocal: fc.boolean(),
    retainAsPublished: fc.boolean(),
    retainHandling: qos,
    subscriptionId: fc.oneof(fc.constant(0), identifier),
  });
  const row = fc.record({
    life: stamp,
    rev: stamp,
    persistent: fc.boolean(),
    subscriptions: fc.array(subscription, { maxLength: 10 }),
  });
  fc.assert(
    fc.property(row, (given) => {
      t.same(decodeRow(encodeRow(given)), given);
    }),
    { numRuns: 200 },
  );
  const long = { life: 1, rev: 1, persistent: true, subscriptions: [] as never[] };
  t.same(decodeRow(encodeRow(long)), long);
});

t.test('a retained record and a will come back as they went', async (t) => {
  const retained = fc.record({ qos, expiresAt: time, ownExpiry: fc.boolean(), publisher: text, body: bytes });
  fc.assert(
    fc.property(retained, (given) => {
      t.same(decodeRetained(encodeRetained(given)), given);
    }),
  );
  const delaySec = fc.integer({ min: 0, max: 0xffffffff });
  const will = fc.record({ qos, retain: fc.boolean(), delaySec, body: bytes });
  fc.assert(
    fc.property(will, (given) => {
      t.same(decodeWill(encodeWill(given)), given);
    }),
  );
});

t.test('a payload reference names receiver and payload', async (t) => {
  t.same(decodeReference(encodeReference('i1-7', 4_000_000_000)), {
    payloadId: 'i1-7',
    index: 4_000_000_000,
  });
  t.throws(() => decodeReference(Buffer.alloc(4)), { code: 'SWARMQ_ERR_RECORD_CORRUPT' });
});

t.test('the marker of a release says nothing else', async (t) => {
  t.match(decodeEntry(PUBREL_ENTRY), { pubrel: true, body: Buffer.alloc(0), subscriptionIds: null });
});

t.test('marks of a slot and of a will have keys of their own', async (t) => {
  const keys = [markKey('c', 0), markKey('c', 1), markKey('c', 'will'), markKey('0:c', 0), markKey('', 0)];
  t.equal(new Set(keys).size, keys.length);
});

const decoders = { decodeEntry, decodeRow, decodeRetained, decodeWill };

for (const [name, decode] of Object.entries(decoders)) {
  t.test(`${name} refuses what it does not know`, async (t) => {
    t.throws(() => decode(Buffer.alloc(0)), { code: 'SWARMQ_ERR_RECORD_CORRUPT' });
    for (const version of [0, name === 'decodeEntry' ? 3 : 2, 255]) {
      t.throws(() => decode(Buffer.from([version, 0, 0, 0])), { code: 'SWARMQ_ERR_RECORD_VERSION' });
    }
  });

  t.test(`${name} refuses what is cut short, with a code`, async (t) => {
    const whole = {
      decodeEntry: Buffer.concat([
        encodeEntryHeader({
          ...{ qos: 1, retain: false, expiresAt: 1, ownExpiry: false, reference: false, copy: false },
          subscriptionIds: [300, 70_000],
        }),
      ]),
      decodeRow: encodeRow({
        ...{ life: 1, rev: 1, persistent: true },
        subscriptions: [
          {
            filter: 'a/b',
            qos: 1,
            noLocal: false,
            retainAsPublished: false,
            retainHandling: 0,
            subscriptionId: 0,
          },
        ],
      }),
      decodeRetained: encodeRetained({
        ...{ qos: 1, expiresAt: 0, ownExpiry: false, publisher: 'publisher', body: Buffer.alloc(0) },
      }),
      decodeWill: encodeWill({ qos: 1, retain: false, delaySec: 5, body: Buffer.alloc(0) }),
    }[name]!;
    for (let length = 1; length < whole.length; length++) {
      // A row may well end behind any of its subscriptions.
      if (name === 'decodeRow' && length === 18) continue;
      t.throws(
        () => decode(whole.subarray(0, length)),
        { code: 'SWARMQ_ERR_RECORD_CORRUPT' },
        `${length} bytes`,
      );
    }
  });
}
