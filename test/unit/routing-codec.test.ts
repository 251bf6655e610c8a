// Payloads of the route log: what goes in comes out, and what is no payload is refused with a code.

import fc from 'fast-check';
import t from 'tap';
import {
  decodeLogRecord,
  encodeLogRecord,
  type LogRecord,
  type RouteFlags,
} from '../../src/routing/log-codec.ts';

const name = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom('__proto__', 'x'.repeat(65535)),
);
const flags = fc.constantFrom<RouteFlags>('a', '0', '');
const record: fc.Arbitrary<LogRecord> = fc.oneof(
  fc.record({
    kind: fc.constant('row' as const),
    clientId: name,
    row: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  }),
  fc.record({ kind: fc.constant('ended' as const), clientId: name, life: fc.maxSafeNat() }),
  fc.record({
    kind: fc.constant('routes' as const),
    incarnation: name,
    changes: fc.array(fc.record({ filter: name, flags }), { maxLength: 5 }),
  }),
  fc.record({ kind: fc.constant('node-dead' as const), incarnation: name }),
);

t.test('every kind comes back as it went', async (t) => {
  fc.assert(
    fc.property(record, (one) => {
      const back = decodeLogRecord(encodeLogRecord(one));
      if (JSON.stringify(back) !== JSON.stringify(one)) throw new Error(JSON.stringify(back));
    }),
    { verbose: 1 },
  );
  t.pass();
});

t.test('what is cut short or unknown is a coded error', async (t) => {
  fc.assert(
    fc.property(record, fc.nat(80), (one, cut) => {
      const bytes = encodeLogRecord(one);
      // A row is opaque: cut inside it, the rest is still a payload.
      const end = Math.min(cut, bytes.length - 1);
      try {
        decodeLogRecord(bytes.subarray(0, end));
      } catch (error) {
        if (!/^SWARMQ_ERR_RECORD_/.test((error as { code: string }).code)) throw error;
      }
    }),
    { verbose: 1 },
  );
  t.throws(() => decodeLogRecord(Buffer.alloc(0)), { code: 'SWARMQ_ERR_RECORD_CORRUPT' });
  t.throws(() => decodeLogRecord(Buffer.from([2, 1, 0, 0])), { code: 'SWARMQ_ERR_RECORD_VERSION' });
  t.throws(() => decodeLogRecord(Buffer.from([1, 9, 0, 0])), { code: 'SWARMQ_ERR_RECORD_VERSION' });
  t.throws(() => decodeLogRecord(Buffer.from([1, 3, 0, 0, 0x62, 0, 0])), {
    code: 'SWARMQ_ERR_RECORD_CORRUPT',
  });
});
