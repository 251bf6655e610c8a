// The PROXY header reader: every split gives the same answer, and nothing but a header of an allowed version passes.

import fc from 'fast-check';
import t from 'tap';
import {
  crc32c,
  type ProxyHeader,
  ProxyHeaderReader,
  type ProxyVersions,
} from '../../src/listener/proxy-protocol.ts';
import { SwarmqError } from '../../src/util/errors.ts';
import { proxyV2, tlv } from '../helpers/proxy-header.ts';

const REST = Buffer.from('bytes behind the header');

/** Feeds the pieces one by one; the header and all bytes behind it, or the error. */
function readPieces(
  versions: ProxyVersions,
  pieces: Buffer[],
): { header: ProxyHeader | null; rest: Buffer } | string {
  const reader = new ProxyHeaderReader(versions);
  for (let index = 0; index < pieces.length; index++) {
    try {
      const result = reader.push(pieces[index]);
      if (result === null) continue;
      return { header: result.header, rest: Buffer.concat([result.rest, ...pieces.slice(index + 1)]) };
    } catch (error) {
      if (!(error instanceof SwarmqError)) throw error;
      return error.code;
    }
  }
  return { header: null, rest: Buffer.alloc(0) };
}

const headerBytes = fc.oneof(
  fc
    .tuple(fc.ipV4(), fc.nat(65_535))
    .map(([address, port]) => Buffer.from(`PROXY TCP4 ${address} 10.0.0.1 ${port} 1883\r\n`)),
  fc
    .tuple(fc.ipV6(), fc.nat(65_535))
    .map(([address, port]) => Buffer.from(`PROXY TCP6 ${address} ::1 ${port} 1883\r\n`)),
  fc.constant(Buffer.from('PROXY UNKNOWN what ever\r\n')),
  fc
    .nat(65_535)
    .map((port) =>
      proxyV2({ source: '192.0.2.1', destination: '10.0.0.1', sourcePort: port, destinationPort: 1 }),
    ),
  fc.nat(3000).map((bytes) =>
    proxyV2({
      source: '2001:db8::1',
      destination: '::1',
      sourcePort: 7,
      destinationPort: 8,
      tlvs: [tlv(4, Buffer.alloc(bytes))],
    }),
  ),
  fc.nat(300).map((bytes) => proxyV2({ command: 0, family: 0, body: Buffer.alloc(bytes, 1) })),
);

t.test('the answer does not depend on the splits', async (t) => {
  fc.assert(
    fc.property(headerBytes, fc.array(fc.nat()), (bytes, cuts) => {
      const stream = Buffer.concat([bytes, REST]);
      const whole = readPieces('any', [stream]);
      const bounds = [0, ...cuts.map((cut) => cut % stream.length).sort((a, b) => a - b), stream.length];
      const pieces = bounds.slice(1).map((to, index) => stream.subarray(bounds[index], to));
      const split = readPieces('any', pieces);
      if (typeof whole === 'string' || typeof split === 'string') return false;
      return (
        whole.rest.equals(REST) && split.rest.equals(REST) && JSON.stringify(whole) === JSON.stringify(split)
      );
    }),
    { numRuns: 500 },
  );
  t.pass('500 runs');
});

t.test('every split in two, and byte by byte', async (t) => {
  const headers = [
    Buffer.from('PROXY TCP4 192.0.2.7 10.0.0.1 51234 1883\r\n'),
    proxyV2({
      source: '192.0.2.7',
      destination: '10.0.0.1',
      sourcePort: 51_234,
      destinationPort: 1883,
      tlvs: [tlv(4, Buffer.alloc(3))],
    }),
  ];
  const expected = {
    isProxied: true,
    sourceAddress: '192.0.2.7',
    sourcePort: 51_234,
    destinationPort: 1883,
    tls: null,
  };
  for (const bytes of headers) {
    const stream = Buffer.concat([bytes, REST]);
    for (let cut = 0; cut <= stream.length; cut++) {
      const result = readPieces('any', [stream.subarray(0, cut), stream.subarray(cut)]);
      if (typeof result === 'string') throw new Error(`cut at ${cut}: ${result}`);
      t.same(result.header, expected);
      t.ok(result.rest.equals(REST));
    }
    for (let end = 0; end < bytes.length; end++) {
      const result = readPieces(
        'any',
        Array.from(bytes.subarray(0, end), (byte) => Buffer.of(byte)),
      );
      if (typeof result === 'string' || result.header !== null) t.fail(`${end} bytes were enough`);
    }
  }
});

t.test('version 1 by the letter', async (t) => {
  const read = (line: string, versions: ProxyVersions = 'any') => readPieces(versions, [Buffer.from(line)]);
  t.match(read('PROXY TCP6 2001:db8::7 ::1 1 65535\r\n'), {
    header: { sourceAddress: '2001:db8::7', destinationPort: 65_535 },
  });
  t.match(read('PROXY UNKNOWN\r\n'), { header: { isProxied: false } });
  const refused = [
    'PROXY TCP4 192.0.2.7 10.0.0.1 51234\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 51234 1883 x\r\n',
    'PROXY TCP4 192.0.2.777 10.0.0.1 51234 1883\r\n',
    'PROXY TCP4 ::1 ::1 51234 1883\r\n',
    'PROXY TCP6 192.0.2.7 ::1 51234 1883\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 65536 1883\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 01 1883\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 -1 1883\r\n',
    'PROXY TCP4  192.0.2.7 10.0.0.1 1 1883\r\n',
    'PROXY UDP4 192.0.2.7 10.0.0.1 1 1883\r\n',
    'proxy TCP4 192.0.2.7 10.0.0.1 1 1883\r\n',
    `PROXY UNKNOWN ${'x'.repeat(100)}\r\n`,
    'x'.repeat(107),
    '\x10\x10',
  ];
  for (const line of refused) t.equal(read(line), 'SWARMQ_ERR_PROXY_HEADER', JSON.stringify(line));
  t.equal(read('PROXY UNKNOWN\r\n', 'v2'), 'SWARMQ_ERR_PROXY_HEADER', 'only version 2 is allowed');
  const longest = `PROXY UNKNOWN ${'x'.repeat(107 - 16)}\r\n`;
  t.equal(longest.length, 107);
  t.match(read(longest), { header: { isProxied: false } });
});

t.test('version 2 by the letter', async (t) => {
  const read = (bytes: Buffer, versions: ProxyVersions = 'any') => readPieces(versions, [bytes]);
  const base = { source: '192.0.2.7', destination: '10.0.0.1', sourcePort: 1, destinationPort: 2 };
  t.equal(read(proxyV2(base), 'v1'), 'SWARMQ_ERR_PROXY_HEADER', 'only version 1 is allowed');
  t.match(read(proxyV2({ ...base, command: 0 })), { header: { isProxied: false } }, 'LOCAL');
  t.match(
    read(proxyV2({ family: 0x31, body: Buffer.alloc(216) })),
    { header: { isProxied: false } },
    'unix sockets',
  );
  const wrongVersion = proxyV2(base);
  wrongVersion[12] = 0x31;
  t.equal(read(wrongVersion.subarray(0, 13)), 'SWARMQ_ERR_PROXY_HEADER', 'told at the 13th byte');
  t.equal(read(proxyV2({ ...base, command: 2 })), 'SWARMQ_ERR_PROXY_HEADER');
  t.equal(
    read(proxyV2({ family: 0x11, body: Buffer.alloc(11) })),
    'SWARMQ_ERR_PROXY_HEADER',
    'addresses cut off',
  );
  t.equal(
    read(proxyV2({ ...base, tlvs: [Buffer.of(4, 0)] })),
    'SWARMQ_ERR_PROXY_HEADER',
    'extension cut off',
  );
  t.equal(
    read(proxyV2({ ...base, tlvs: [Buffer.of(4, 0, 9, 1)] })),
    'SWARMQ_ERR_PROXY_HEADER',
    'extension too long',
  );
  for (const address of ['2001:db8::1', '::1', '::', '1:2:3:4:5:6:7:8', '1:0:0:2::3', 'fe80::1:0:0:1']) {
    const result = read(proxyV2({ source: address, destination: '::1', sourcePort: 1, destinationPort: 2 }));
    if (typeof result === 'string') throw new Error(result);
    t.equal(result.header?.sourceAddress, new URL(`http://[${address}]`).hostname.slice(1, -1));
  }
  const mapped = read(
    proxyV2({ source: '::ffff:c000:207', destination: '::1', sourcePort: 1, destinationPort: 2 }),
  );
  t.match(mapped, { header: { sourceAddress: '192.0.2.7' } });
});

t.test('TLS as a proxy tells it', async (t) => {
  const base = { source: '192.0.2.7', destination: '10.0.0.1', sourcePort: 1, destinationPort: 2 };
  const ssl = (client: number, verify: number, ...subs: Buffer[]) =>
    tlv(0x20, Buffer.concat([Buffer.of(client, 0, 0, 0, verify), ...subs]));
  const tlsOf = (...tlvs: Buffer[]) => {
    const result = readPieces('v2', [proxyV2({ ...base, tlvs })]);
    return typeof result === 'string' ? result : result.header?.tls;
  };
  const names = [tlv(0x21, Buffer.from('TLSv1.3')), tlv(0x22, Buffer.from('device-7'))];
  t.same(tlsOf(ssl(7, 0, ...names)), { authorized: true, commonName: 'device-7', protocol: 'TLSv1.3' });
  t.same(tlsOf(ssl(3, 1, ...names)), { authorized: false, commonName: 'device-7', protocol: 'TLSv1.3' });
  t.same(tlsOf(ssl(1, 0)), { authorized: false, commonName: null, protocol: null }, 'no certificate');
  t.same(tlsOf(ssl(0, 0)), null, 'no TLS');
  t.same(tlsOf(), null);
  t.equal(tlsOf(tlv(0x20, Buffer.alloc(4))), 'SWARMQ_ERR_PROXY_HEADER');
});

t.test('a checksum must fit', async (t) => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283, 'the check value of CRC-32C');
  const base = { source: '192.0.2.7', destination: '10.0.0.1', sourcePort: 1, destinationPort: 2 };
  const bytes = proxyV2({ ...base, tlvs: [tlv(3, Buffer.alloc(4))] });
  bytes.writeUInt32BE(crc32c(bytes), bytes.length - 4);
  t.match(readPieces('v2', [bytes]), { header: { sourceAddress: '192.0.2.7' } });
  bytes[20] ^= 1;
  t.equal(readPieces('v2', [bytes]), 'SWARMQ_ERR_PROXY_HEADER');
});

t.test('any bytes are a header, a beginning of one, or a coded error', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (tail, isV2) => {
      const head = isV2
        ? proxyV2({ command: 1, family: 0x11, body: Buffer.alloc(0) }).subarray(0, 14)
        : Buffer.from('PROXY ');
      readPieces('any', [head, Buffer.from(tail)]);
      readPieces('any', [Buffer.from(tail)]);
      return true;
    }),
    { numRuns: 3000 },
  );
  t.pass('3,000 runs');
});
