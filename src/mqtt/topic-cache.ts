// Topic bytes to topic strings, remembered: publishers repeat their topics, so that the usual packet costs one compare
// instead of a check and a decoding. The same bytes give the very same string object as long as they are remembered,
// which also makes the router's look-up by that string quick. One cache serves all connections of a process. Bounded:
// a fixed table of short topics, where a newcomer replaces what is in its place, and one topic of any length.

import { copyBytes } from '../util/copy-bytes.ts';
import { isText } from './bytes.ts';

export interface TopicEntry {
  /** The topic's bytes are bytes[at, at + length). Of the latest entry of its place only: the next one takes them. */
  readonly bytes: Buffer;
  readonly at: number;
  readonly length: number;
  readonly text: string;
  /** Separators plus one. */
  readonly levels: number;
}

/** Entries of the table; SHORT_TOPIC_BYTES are kept for each, so the table stays below 3 MB with its strings. */
const TABLE_ENTRIES = 4096;
const SHORT_TOPIC_BYTES = 192;
const SEPARATOR = 47;
const PLUS = 43;
const HASH = 35;

const NOTHING: TopicEntry = { bytes: Buffer.alloc(0), at: 0, length: 0, text: '', levels: 0 };

export class TopicCache {
  readonly #table: TopicEntry[] = new Array<TopicEntry>(TABLE_ENTRIES).fill(NOTHING);
  /** One piece for all: an own one for each topic would be dearer than all the rest where no topic comes twice. */
  readonly #shortBytes = Buffer.allocUnsafeSlow(TABLE_ENTRIES * SHORT_TOPIC_BYTES);
  #last: TopicEntry = NOTHING;

  /**
   * The topic name in `buf[start, end)`, or the fault of bytes that are none: 'text' (not UTF-8, or U+0000)
   * [MQTT-1.5.3-1], [MQTT-1.5.3-2], or 'wildcard' [MQTT-3.3.2-2]. Empty bytes give the entry of the empty string.
   */
  find(buf: Buffer, start: number, end: number): TopicEntry | 'text' | 'wildcard' {
    if (isSame(this.#last, buf, start, end)) return this.#last;
    if (end === start) return NOTHING;
    if (end - start > SHORT_TOPIC_BYTES) return this.#learn(buf, start, end, -1);
    const place = hashOf(buf, start, end) & (TABLE_ENTRIES - 1);
    const entry = this.#table[place];
    if (isSame(entry, buf, start, end)) {
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
    const length = end - start;
    const bytes = place >= 0 ? this.#shortBytes : Buffer.allocUnsafeSlow(length);
    const at = place >= 0 ? place * SHORT_TOPIC_BYTES : 0;
    copyBytes(buf, start, end, bytes, at);
    const entry = { bytes, at, length, text: buf.toString('utf8', start, end), levels };
    if (place >= 0) this.#table[place] = entry;
    this.#last = entry;
    return entry;
  }
}

/** Compares from the end: topics of one fleet differ there. */
function isSame({ bytes, at, length }: TopicEntry, buf: Buffer, start: number, end: number): boolean {
  if (length !== end - start) return false;
  for (let left = length - 1; left >= 0; left--) if (bytes[at + left] !== buf[start + left]) return false;
  return true;
}

/** FNV-1a, as good as it needs to be: a collision costs one decoding. */
function hashOf(buf: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ buf[at], 0x01000193);
  return hash ^ (hash >>> 15);
}
