// Topic bytes to topic strings, remembered: publishers repeat their topics, so that the usual packet costs one compare
// instead of a check and a decoding. The same bytes give the very same string object as long as they are remembered,
// which also makes the router's look-up by that string quick. One cache serves all connections of a process. Bounded:
// a fixed table of short topics, where a newcomer replaces what is in its place, and one topic of any length.

import { isText } from './bytes.ts';

export interface TopicEntry {
  readonly bytes: Buffer;
  readonly text: string;
  /** Separators plus one. */
  readonly levels: number;
}

/** Entries of the table; at most SHORT_TOPIC_BYTES each, so the table stays below 2 MB with its strings. */
const TABLE_ENTRIES = 4096;
const SHORT_TOPIC_BYTES = 192;
const SEPARATOR = 47;
const PLUS = 43;
const HASH = 35;

const NOTHING: TopicEntry = { bytes: Buffer.alloc(0), text: '', levels: 0 };

export class TopicCache {
  readonly #table: TopicEntry[] = new Array<TopicEntry>(TABLE_ENTRIES).fill(NOTHING);
  #last: TopicEntry = NOTHING;

  /**
   * The topic name in `buf[start, end)`, or the fault of bytes that are none: 'text' (not UTF-8, or U+0000)
   * [MQTT-1.5.3-1], [MQTT-1.5.3-2], or 'wildcard' [MQTT-3.3.2-2]. Empty bytes give the entry of the empty string.
   */
  find(buf: Buffer, start: number, end: number): TopicEntry | 'text' | 'wildcard' {
    if (isSame(this.#last.bytes, buf, start, end)) return this.#last;
    if (end === start) return NOTHING;
    if (end - start > SHORT_TOPIC_BYTES) return this.#learn(buf, start, end, -1);
    const place = hashOf(buf, start, end) & (TABLE_ENTRIES - 1);
    const entry = this.#table[place];
    if (isSame(entry.bytes, buf, start, end)) {
      this.#last = entry;
      return entry;
    }
    return this.#learn(buf, start, end, place);
  }

  #learn(buf: Buffer, start: number, end: number, place: number): TopicEntry | 'text' | 'wildcard' {
    if (!isText(buf, start, end)) return 'text';
    let levels = 1;
    for (let at = start; at < end; at++) {
      const byte = buf[at];
      if (byte === PLUS || byte === HASH) return 'wildcard';
      if (byte === SEPARATOR) levels++;
    }
    // Copied without the shared pool of small buffers, which an entry would hold for as long as it is remembered.
    const bytes = Buffer.allocUnsafeSlow(end - start);
    buf.copy(bytes, 0, start, end);
    const entry = { bytes, text: bytes.toString('utf8'), levels };
    if (place >= 0) this.#table[place] = entry;
    this.#last = entry;
    return entry;
  }
}

/** Compares from the end: topics of one fleet differ there. */
function isSame(known: Buffer, buf: Buffer, start: number, end: number): boolean {
  let at = known.length;
  if (at !== end - start) return false;
  while (at > 0) {
    at--;
    if (known[at] !== buf[start + at]) return false;
  }
  return true;
}

/** FNV-1a, as good as it needs to be: a collision costs one decoding. */
function hashOf(buf: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ buf[at], 0x01000193);
  return hash ^ (hash >>> 15);
}
