// Topics in the order of their levels, and reading those that match a filter. The separator becomes U+0000, which no
// topic holds [MQTT-1.5.4-2] and which sorts below everything: so a topic's descendants stand right behind it, and what
// follows U+0001 after a prefix is beyond them. A reading never looks at what cannot match: it jumps to the next key that
// could, over whole subtrees, also where `+` stands in the middle of a filter.

import { SortedKeys } from './sorted-keys.ts';

const SEPARATOR = '\u0000';
const BEYOND = '\u0001';
/** First key that is beyond all topics that begin with `$`. */
const BEYOND_DOLLAR = '%';
/** Keys looked at in one call beyond the records asked for: bounds the pause of a filter that matches little. */
const LOOKED_AT_MAX = 2000;

export interface TopicPage {
  readonly topics: string[];
  /** Where to go on, null at the end. */
  readonly cursor: string | null;
}

export class TopicIndex {
  readonly #keys = new SortedKeys();

  add(topic: string): void {
    this.#keys.add(topic.replaceAll('/', SEPARATOR));
  }

  delete(topic: string): void {
    this.#keys.delete(topic.replaceAll('/', SEPARATOR));
  }

  /** At most `limit` topics that match and are wanted, from `cursor` ('' begins) on. */
  match(filter: string, cursor: string, limit: number, isWanted: (topic: string) => boolean): TopicPage {
    const wanted = filter.split('/');
    const topics: string[] = [];
    let left = limit + LOOKED_AT_MAX;
    // A cursor is the key to go on from, behind a letter so that it is never empty.
    let from: string | null = cursor === '' ? firstKey(wanted) : cursor.slice(1);
    while (from !== null) {
      if (topics.length >= limit || left-- <= 0) return { topics, cursor: `k${from}` };
      const key = this.#keys.seek(from);
      if (key === undefined) return { topics, cursor: null };
      const next = nextAfter(wanted, key);
      if (next === MATCHES) {
        const topic = key.replaceAll(SEPARATOR, '/');
        if (isWanted(topic)) topics.push(topic);
        from = key + SEPARATOR;
      } else {
        from = next;
      }
    }
    return { topics, cursor: null };
  }
}

const MATCHES = Symbol('matches');

function firstKey(wanted: readonly string[]): string {
  const wildcard = wanted.findIndex((level) => level === '+' || level === '#');
  return (wildcard < 0 ? wanted : wanted.slice(0, wildcard)).join(SEPARATOR);
}

/** MATCHES, or the lowest key above `key` that could match, null where none can. */
function nextAfter(wanted: readonly string[], key: string): string | null | typeof MATCHES {
  const isWild = wanted[0] === '+' || wanted[0] === '#';
  if (isWild && key.startsWith('$')) return BEYOND_DOLLAR;
  const levels = key.split(SEPARATOR);
  for (let at = 0; at < wanted.length; at++) {
    const want = wanted[at]!;
    if (want === '#') return MATCHES;
    const level = levels[at];
    if (level === undefined) {
      return [...levels, want === '+' ? '' : want].join(SEPARATOR);
    }
    if (want === '+' || want === level) continue;
    if (level < want) return [...levels.slice(0, at), want].join(SEPARATOR);
    return beyondLastPlus(wanted, levels, at);
  }
  if (levels.length === wanted.length) return MATCHES;
  // Longer than the filter, and so are all its neighbours below the same prefix.
  return beyond(levels, wanted.length);
}

/** The level `at` is beyond what is wanted there: the next key to look at has another value for the last `+` before it. */
function beyondLastPlus(wanted: readonly string[], levels: readonly string[], at: number): string | null {
  for (let plus = at - 1; plus >= 0; plus--) {
    if (wanted[plus] === '+') return beyond(levels, plus + 1);
  }
  return null;
}

const beyond = (levels: readonly string[], count: number): string =>
  levels.slice(0, count).join(SEPARATOR) + BEYOND;
