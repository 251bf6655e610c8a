// Durations, sizes and addresses as people write them.

import fc from 'fast-check';
import t from 'tap';
import { nearestName } from '../../src/config/nearest.ts';
import { maskRedisUrl, parseRedisUrl } from '../../src/config/redis-url.ts';
import { formatDuration, formatSize, parseDuration, parseSize } from '../../src/config/units.ts';

t.test('durations', async (t) => {
  const cases: [string | number, number | undefined][] = [
    ['500ms', 500],
    ['15s', 15_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
    ['30d', 2_592_000_000],
    ['never', Number.POSITIVE_INFINITY],
    [' 3 S ', 3000],
    [0, 0],
    ['0', 0],
    [3, undefined],
    ['3', undefined],
    ['-3s', undefined],
    ['3 sec', undefined],
    ['s', undefined],
    ['', undefined],
    ['0.0001ms', undefined],
  ];
  for (const [text, expected] of cases) t.equal(parseDuration(text), expected, `"${text}"`);
});

t.test('sizes', async (t) => {
  const cases: [string | number, number | undefined][] = [
    ['1MB', 1_048_576],
    ['64 kb', 65_536],
    ['2GiB', 2 * 1024 ** 3],
    ['512', 512],
    [65_535, 65_535],
    ['1.5KB', 1536],
    ['1TB', undefined],
    ['MB', undefined],
    [-1, undefined],
    [1.5, undefined],
  ];
  for (const [text, expected] of cases) t.equal(parseSize(text), expected, `"${text}"`);
});

t.test('what is formatted reads back as the same', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 48 }), (value) => {
      return parseDuration(formatDuration(value)) === value && parseSize(formatSize(value)) === value;
    }),
  );
});

t.test('addresses of Redis', async (t) => {
  t.match(parseRedisUrl('redis://10.0.0.1'), {
    mode: 'standalone',
    endpoints: [{ host: '10.0.0.1', port: 6379 }],
    database: 0,
    isTls: false,
  });
  t.match(parseRedisUrl('rediss://us%40er:p%3Aw@[::1]:7000/3'), {
    endpoints: [{ host: '::1', port: 7000 }],
    username: 'us@er',
    password: 'p:w',
    database: 3,
    isTls: true,
  });
  t.match(parseRedisUrl('redis+sentinel://h1:1,h2/my-master?db=2'), {
    mode: 'sentinel',
    endpoints: [
      { host: 'h1', port: 1 },
      { host: 'h2', port: 26379 },
    ],
    masterName: 'my-master',
    database: 2,
  });
  t.match(parseRedisUrl('redis+cluster://:pw@h1:1,h2:2'), {
    mode: 'cluster',
    endpoints: { length: 2 },
    username: undefined,
    password: 'pw',
  });
  const wrong: [string, RegExp][] = [
    ['http://h', /must begin with redis:/],
    ['h:6379', /must begin with/],
    ['redis://', /no valid host/],
    ['redis://h:0', /no valid host and port/],
    ['redis://h:99999', /no valid host and port/],
    ['redis://a,b', /several hosts/],
    ['redis+sentinel://a', /name of the master/],
    ['redis+cluster://a/1', /only 0/],
    ['redis://a/x', /number of the database/],
    ['redis://a?foo=1', /unknown parameter "foo"/],
    ['redis://%zz@a', /percent-encoded/],
  ];
  for (const [url, reason] of wrong) t.match(parseRedisUrl(url), reason, url);
});

t.test('a masked address hides the whole password', async (t) => {
  t.equal(maskRedisUrl('redis://u:secret@h:1', '***'), 'redis://u:***@h:1');
  t.equal(maskRedisUrl('redis://:se@cr:et@h:1/2', '***'), 'redis://:***@h:1/2');
  t.equal(maskRedisUrl('redis://h:1', '***'), 'redis://h:1');
});

t.test('the nearest name', async (t) => {
  const names = ['maxPacketSize', 'maxTopicLevels', 'port', 'host'];
  t.equal(nearestName('maxPaketSize', names), 'maxPacketSize');
  t.equal(nearestName('max_packet_size', names), 'maxPacketSize');
  t.equal(nearestName('prot', names), 'port');
  t.equal(nearestName('somethingElse', names), undefined);
});
