// Rules of topic names and topic filters as plain functions over strings: what is allowed, how shared subscription
// filters are taken apart, and which filter matches which topic. `topicMatches` is the reference that faster structures
// (the routing trie, the retained index) are tested against. Names are opaque here: no character but `/ + # $` and
// U+0000 means anything.

/** Why a topic name or filter is refused. */
export type TopicFault =
  | 'empty'
  | 'too-long'
  | 'too-many-levels'
  | 'null-character'
  | 'not-unicode'
  | 'wildcard'
  | 'share';

export interface TopicLimits {
  /** Most bytes of the UTF-8 form; MQTT itself allows 65,535. */
  maxBytes: number;
  /** Most levels, that is separators plus one. */
  maxLevels: number;
}

export interface SharedFilter {
  group: string;
  /** The filter that the group shares, without `$share/<group>/`. */
  filter: string;
}

const SHARE_PREFIX = '$share/';
const SEPARATOR = 47;
const PLUS = 43;
const HASH = 35;
/** Matches a surrogate that has no partner; pairs are one code point to a regular expression with flag u. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Number of levels of a topic name or filter: `a` has one, `/` has two. */
export function topicLevels(topic: string): number {
  let levels = 1;
  for (let at = topic.indexOf('/'); at >= 0; at = topic.indexOf('/', at + 1)) levels++;
  return levels;
}

/** Null for a topic name that may be published to, else the fault [MQTT-4.7.1-1], [MQTT-4.7.3-1] to [MQTT-4.7.3-3]. */
export function validateTopicName(topic: string, limits: TopicLimits): TopicFault | null {
  const fault = faultOfText(topic, limits);
  if (fault !== null) return fault;
  return hasWildcard(topic) ? 'wildcard' : null;
}

/**
 * Null for a topic filter that may be subscribed to, else the fault. `#` stands alone in the last level [MQTT-4.7.1-2],
 * `+` alone in its level [MQTT-4.7.1-3]. A filter that begins with `$share/` must name a group without wildcards and a
 * filter [MQTT5-4.8.2-1], [MQTT5-4.8.2-2]; the limits count the whole of it.
 */
export function validateTopicFilter(filter: string, limits: TopicLimits): TopicFault | null {
  const fault = faultOfText(filter, limits);
  if (fault !== null) return fault;
  if (!filter.startsWith(SHARE_PREFIX)) return areWildcardsPlaced(filter) ? null : 'wildcard';
  const shared = parseSharedFilter(filter);
  if (shared === null) return 'share';
  return areWildcardsPlaced(shared.filter) ? null : 'wildcard';
}

/** True for every filter that claims to be a shared subscription, well-formed or not. */
export function isSharedFilter(filter: string): boolean {
  return filter.startsWith(SHARE_PREFIX);
}

/** Takes `$share/<group>/<filter>` apart; null where it is none, or where group or filter is missing or misnamed. */
export function parseSharedFilter(filter: string): SharedFilter | null {
  if (!filter.startsWith(SHARE_PREFIX)) return null;
  const groupEnd = filter.indexOf('/', SHARE_PREFIX.length);
  if (groupEnd <= SHARE_PREFIX.length || groupEnd === filter.length - 1) return null;
  const group = filter.slice(SHARE_PREFIX.length, groupEnd);
  return hasWildcard(group) ? null : { group, filter: filter.slice(groupEnd + 1) };
}

/** True where the string holds `+` or `#`. */
export function hasWildcard(topic: string): boolean {
  return topic.includes('+') || topic.includes('#');
}

/**
 * True where the valid filter (not a shared one) matches the valid topic name. `#` matches its parent level too
 * [MQTT-4.7.1-2]; a wildcard in the first level matches no topic that begins with `$` [MQTT-4.7.2-1]; levels may be
 * empty, and an empty one matches `+`.
 */
export function topicMatches(filter: string, topic: string): boolean {
  const first = filter.charCodeAt(0);
  if (topic.charCodeAt(0) === 36 && (first === PLUS || first === HASH)) return false;
  const wanted = filter.split('/');
  const given = topic.split('/');
  for (let level = 0; level < wanted.length; level++) {
    const want = wanted[level];
    if (want === '#') return true;
    if (level >= given.length) return false;
    if (want !== '+' && want !== given[level]) return false;
  }
  return wanted.length === given.length;
}

function faultOfText(text: string, limits: TopicLimits): TopicFault | null {
  if (text.length === 0) return 'empty';
  // A UTF-16 unit is at least one byte: a string longer than the limit needs no count.
  if (text.length > limits.maxBytes || Buffer.byteLength(text) > limits.maxBytes) return 'too-long';
  if (text.includes('\0')) return 'null-character';
  if (LONE_SURROGATE.test(text)) return 'not-unicode';
  return topicLevels(text) > limits.maxLevels ? 'too-many-levels' : null;
}

function areWildcardsPlaced(filter: string): boolean {
  const last = filter.length - 1;
  for (let at = 0; at <= last; at++) {
    const character = filter.charCodeAt(at);
    if (character !== PLUS && character !== HASH) continue;
    if (at > 0 && filter.charCodeAt(at - 1) !== SEPARATOR) return false;
    if (character === HASH && at !== last) return false;
    if (at < last && filter.charCodeAt(at + 1) !== SEPARATOR) return false;
  }
  return true;
}
