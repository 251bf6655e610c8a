// Encodes Redis commands straight into one growing buffer, without a Buffer, string or promise per argument: a batch of
// hundreds of messages is written in one pass. Replies are what ioredis' parser gives with buffers for strings.

import { Buffer } from 'node:buffer';
import { copyBytes } from '../../util/copy-bytes.ts';

/** One reply: numbers, buffers for strings, null, an Error for a refused command, arrays of these. */
export type Reply = number | Buffer | null | Error | Reply[];

export type Argument = string | number | Buffer;

const DOLLAR = 0x24;
const CR = 0x0d;
const LF = 0x0a;
const FIRST_BYTES = 64 * 1024;
/** Room for the longest head ("*", ten digits, CR LF). */
const HEAD_BYTES = 16;

/** Smaller ones are written digit by digit. */
const QUICK_NUMBER = 1e9;

/** Commands of one batch. `begin` and `end` stand around each; the bytes stay valid after `release` handed them out. */
export class CommandWriter {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #at = 0;
  #bodyAt = HEAD_BYTES;
  #count = 0;
  #commands: Buffer[] = [];

  begin(): void {
    this.#ensure(HEAD_BYTES);
    this.#at += HEAD_BYTES;
    this.#bodyAt = this.#at;
    this.#count = 0;
  }

  end(): void {
    const head = `*${this.#count}\r\n`;
    const start = this.#bodyAt - head.length;
    this.#bytes.latin1Write(head, start);
    this.#commands.push(this.#bytes.subarray(start, this.#at));
    this.#bodyAt = this.#at + HEAD_BYTES;
  }

  /** A command that is encoded already. */
  encoded(command: Buffer): void {
    this.#commands.push(command);
  }

  /** Arguments that are encoded already. */
  arguments(bytes: Buffer, count: number): void {
    this.#ensure(bytes.length);
    bytes.copy(this.#bytes, this.#at);
    this.#at += bytes.length;
    this.#count += count;
  }

  /** The same as text. */
  argumentText(text: string, count: number): void {
    this.#ensure(3 * text.length);
    this.#at += this.#bytes.utf8Write(text, this.#at);
    this.#count += count;
  }

  /** The commands written since the last call. The writer begins anew. */
  take(): Buffer[] {
    const commands = this.#commands;
    this.#commands = [];
    // The socket may hold the bytes for a while: what is left of the buffer serves the next batch, the rest is not touched.
    if (this.#bytes.length - this.#at < FIRST_BYTES / 2) this.#bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
    else this.#bytes = this.#bytes.subarray(this.#at);
    this.#at = 0;
    this.#bodyAt = HEAD_BYTES;
    return commands;
  }

  /** A text of ASCII characters only. */
  ascii(text: string): void {
    this.#open(text.length);
    this.#at += this.#bytes.latin1Write(text, this.#at);
    this.#close();
  }

  text(text: string): void {
    const length = Buffer.byteLength(text);
    this.#open(length);
    this.#at += this.#bytes.utf8Write(text, this.#at);
    this.#close();
  }

  /** A whole number below 2^53. */
  number(value: number): void {
    if (value >= 0 && value < QUICK_NUMBER) {
      let digits = 1;
      for (let limit = 10; value >= limit; limit *= 10) digits++;
      this.#open(digits);
      const end = this.#at + digits;
      let rest = value;
      for (let at = end - 1; at >= this.#at; at--) {
        this.#bytes[at] = 0x30 + (rest % 10);
        rest = (rest / 10) | 0;
      }
      this.#at = end;
      this.#close();
      return;
    }
    this.ascii(String(value));
  }

  bytes(value: Buffer): void {
    this.#open(value.length);
    this.#at = copyBytes(value, 0, value.length, this.#bytes, this.#at);
    this.#close();
  }

  /** One argument made of two buffers. */
  joined(first: Buffer, second: Buffer): void {
    this.#open(first.length + second.length);
    const at = copyBytes(first, 0, first.length, this.#bytes, this.#at);
    this.#at = copyBytes(second, 0, second.length, this.#bytes, at);
    this.#close();
  }

  /** One argument made of many buffers: `part` is called for each, `length` bytes in all, then `endParts`. */
  beginParts(length: number): void {
    this.#open(length);
  }

  part(value: Buffer): void {
    this.#at = copyBytes(value, 0, value.length, this.#bytes, this.#at);
  }

  endParts(): void {
    this.#close();
  }

  argument(value: Argument): void {
    if (typeof value === 'string') this.text(value);
    else if (typeof value === 'number') this.number(value);
    else this.bytes(value);
  }

  #open(length: number): void {
    this.#ensure(length + HEAD_BYTES + 2);
    const bytes = this.#bytes;
    let at = this.#at;
    bytes[at++] = DOLLAR;
    if (length < 10) {
      bytes[at++] = 0x30 + length;
    } else if (length < 100) {
      bytes[at++] = 0x30 + ((length / 10) | 0);
      bytes[at++] = 0x30 + (length % 10);
    } else {
      at += bytes.latin1Write(String(length), at);
    }
    bytes[at++] = CR;
    bytes[at++] = LF;
    this.#at = at;
    this.#count++;
  }

  #close(): void {
    this.#bytes[this.#at++] = CR;
    this.#bytes[this.#at++] = LF;
  }

  #ensure(more: number): void {
    const needed = this.#at + more;
    if (needed <= this.#bytes.length) return;
    // Commands that are complete keep their slices of the old buffer; only the one being written moves.
    const from = this.#bodyAt - HEAD_BYTES;
    const unfinished = this.#at - from;
    const grown = Buffer.allocUnsafeSlow(Math.max(2 * FIRST_BYTES, (unfinished + more) * 2));
    this.#bytes.copy(grown, 0, from, this.#at);
    this.#bodyAt -= from;
    this.#at = unfinished;
    this.#bytes = grown;
  }
}

/** Arguments for `CommandWriter.arguments`. */
export function encodeArguments(words: readonly string[]): Buffer {
  return Buffer.from(words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join(''));
}

/** One command on its own. */
export function encodeCommand(...words: readonly Argument[]): Buffer {
  // Text between two buffers is put together as one string: far cheaper than a buffer for each word.
  let text = `*${words.length}\r\n`;
  const parts: Buffer[] = [];
  for (const word of words) {
    if (typeof word === 'string') {
      text += `$${Buffer.byteLength(word)}\r\n${word}\r\n`;
    } else if (typeof word === 'number') {
      const digits = String(word);
      text += `$${digits.length}\r\n${digits}\r\n`;
    } else {
      parts.push(Buffer.from(`${text}$${word.length}\r\n`), word);
      text = '\r\n';
    }
  }
  const last = Buffer.from(text);
  return parts.length === 0 ? last : Buffer.concat([...parts, last]);
}

export const asText = (reply: Reply | undefined): string =>
  Buffer.isBuffer(reply) ? reply.utf8Slice() : reply === null || reply === undefined ? '' : String(reply);

export const asNumber = (reply: Reply | undefined): number =>
  typeof reply === 'number' ? reply : Buffer.isBuffer(reply) ? Number(reply.latin1Slice()) : 0;

export const asList = (reply: Reply | undefined): Reply[] => (Array.isArray(reply) ? reply : []);
