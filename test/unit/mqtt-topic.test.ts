// Topic rules against the standard's examples and a second, recursive implementation of matching; packet identifiers
// against their definition.

import fc from 'fast-check';
import t from 'tap';
import { PACKET_IDS, packetIdOf, seqOf } from '../../src/mqtt/packet-id.ts';
import {
  hasWildcard,
  isSharedFilter,
  parseSharedFilter,
  type TopicFault,
  topicLevels,
  topicMatches,
  validateTopicFilter,
  validateTopicName,
} from '../../src/mqtt/topic.ts';

const LIMITS = { maxBytes: 65_535, maxLevels: 200 };

t.test('which filter matches which topic', async (t) => {
  const cases: [string, string, boolean][] = [
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
    ['sport/#', 'sport', true],
    ['sport/#', 'sports', false],
    ['sport/tennis/+', 'sport/tennis/player1', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['#', '/', true],
    ['#', '$SYS/x', false],
    ['+/monitor/Clients', '$SYS/monitor/Clients', false],
    ['$SYS/#', '$SYS/', true],
    ['$SYS/#', '$SYS', true],
    ['$SYS/monitor/+', '$SYS/monitor/Clients', true],
    ['a/$SYS/+', 'a/$SYS/b', true],
    ['a//b', 'a//b', true],
    ['a/+/b', 'a//b', true],
    ['a/b', 'a/b/', false],
    ['a/b/', 'a/b', false],
    ['+/', 'a/', true],
    ['A', 'a', false],
    ['a/[b]/+', 'a/[b]/c', true],
    ['a/*', 'a/b', false],
    ['__proto__/+', '__proto__/constructor', true],
  ];
  for (const [filter, topic, expected] of cases)
    t.equal(topicMatches(filter, topic), expected, `${filter} ${topic}`);
});

t.test('matching equals its recursive definition', async (t) => {
  const matches = (filter: string[], topic: string[]): boolean => {
    if (filter.length === 0) return topic.length === 0;
    if (filter[0] === '#') return true;
    if (topic.length === 0) return false;
    return (filter[0] === '+' || filter[0] === topic[0]) && matches(filter.slice(1), topic.slice(1));
  };
  const level = fc.constantFrom('', 'a', 'b', '$x', 'ü');
  fc.assert(
    fc.property(
      fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 5 }),
      fc.boolean(),
      fc.array(level, { minLength: 1, maxLength: 5 }),
      (levels, hasHash, topic) => {
        const filter = hasHash ? [...levels, '#'] : levels;
        const isHidden = topic[0].startsWith('$') && (filter[0] === '+' || filter[0] === '#');
        return topicMatches(filter.join('/'), topic.join('/')) === (!isHidden && matches(filter, topic));
      },
    ),
    { numRuns: 5000 },
  );
  t.pass('5,000 runs');
});

t.test('a topic matches itself as a filter, and # unless it begins with $', async (t) => {
  const name = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
    .map((text) => text.replace(/[+#\0]/g, '/'));
  fc.assert(
    fc.property(name, (topic) => {
      return (
        validateTopicName(topic, LIMITS) === null &&
        topicMatches(topic, topic) &&
        topicMatches('#', topic) === !topic.startsWith('$') &&
        topicMatches(`${topic}/#`, topic) &&
        topicLevels(topic) === topic.split('/').length
      );
    }),
  );
  t.pass('100 runs');
});

t.test('topic names', async (t) => {
  const limits = { maxBytes: 10, maxLevels: 3 };
  const cases: [string, TopicFault | null][] = [
    ['a', null],
    ['/', null],
    ['$SYS/x', null],
    ['a b', null],
    ['', 'empty'],
    ['a/+', 'wildcard'],
    ['#', 'wildcard'],
    ['a#b', 'wildcard'],
    ['a\0', 'null-character'],
    ['a\ud800', 'not-unicode'],
    ['\udc00b', 'not-unicode'],
    ['\u{1f600}', null],
    ['a/b/c', null],
    ['a/b/c/', 'too-many-levels'],
    ['x'.repeat(10), null],
    ['x'.repeat(11), 'too-long'],
    ['ü'.repeat(5), null],
    ['ü'.repeat(6), 'too-long'],
  ];
  for (const [topic, fault] of cases) t.equal(validateTopicName(topic, limits), fault, JSON.stringify(topic));
  t.equal(validateTopicName('x'.repeat(65_535), LIMITS), null);
});

t.test('topic filters', async (t) => {
  const cases: [string, TopicFault | null][] = [
    ['#', null],
    ['+', null],
    ['+/+/#', null],
    ['/+', null],
    ['a//#', null],
    ['', 'empty'],
    ['a#', 'wildcard'],
    ['a/#/b', 'wildcard'],
    ['#/', 'wildcard'],
    ['a+', 'wildcard'],
    ['+a/b', 'wildcard'],
    ['a/b+/c', 'wildcard'],
    ['++', 'wildcard'],
    ['+#', 'wildcard'],
    ['a\0', 'null-character'],
    ['$share', null],
    ['$share/', 'share'],
    ['$share/g', 'share'],
    ['$share/g/', 'share'],
    ['$share//a', 'share'],
    ['$share/+/a', 'share'],
    ['$share/g#/a', 'share'],
    ['$share/g/a/#', null],
    ['$share/g//', null],
    ['$share/g/a#', 'wildcard'],
  ];
  for (const [filter, fault] of cases)
    t.equal(validateTopicFilter(filter, LIMITS), fault, JSON.stringify(filter));
  t.equal(validateTopicFilter('a/b/c', { maxBytes: 9, maxLevels: 2 }), 'too-many-levels');
});

t.test('shared filters', async (t) => {
  t.same(parseSharedFilter('$share/group/a/+'), { group: 'group', filter: 'a/+' });
  t.same(parseSharedFilter('$share/__proto__//'), { group: '__proto__', filter: '/' });
  t.equal(parseSharedFilter('a/b'), null);
  t.equal(isSharedFilter('$share/g'), true);
  t.equal(isSharedFilter('$shared/g'), false);
  t.equal(hasWildcard('a/b'), false);
});

t.test('packet identifiers: 1 to 65,535, and back within a window', async (t) => {
  t.equal(packetIdOf(1), 1);
  t.equal(packetIdOf(65_535), 65_535);
  t.equal(packetIdOf(65_536), 1);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 52 }), fc.nat(PACKET_IDS - 1), (head, ahead) => {
      const seq = head + ahead;
      const id = packetIdOf(seq);
      return id >= 1 && id <= PACKET_IDS && seqOf(id, head) === seq;
    }),
    { numRuns: 5000 },
  );
});
