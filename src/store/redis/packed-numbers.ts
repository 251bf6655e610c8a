// The numbers of a script call as one argument, in place of one each: Redis makes an object of every argument and a Lua
// string of that, and the script a number of that, which costs more than most of what is done with it.

import { Buffer } from 'node:buffer';

const FIRST_BYTES = 4096;
/** Of the longest number. */
const MOST_BYTES = 8;

/** Big-endian numbers one behind the other, as struct.unpack of a script takes them. */
export class PackedNumbers {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  begin(): void {
    this.#at = 0;
  }

  /** "B" */
  u8(value: number): void {
    this.#ensure();
    this.#view.setUint8(this.#at, value);
    this.#at += 1;
  }

  /** "H" */
  u16(value: number): void {
    this.#ensure();
    this.#view.setUint16(this.#at, value);
    this.#at += 2;
  }

  /** "i4" */
  i32(value: number): void {
    this.#ensure();
    this.#view.setInt32(this.#at, value);
    this.#at += 4;
  }

  /** "d": whole numbers up to 2^53, and times. */
  f64(value: number): void {
    this.#ensure();
    this.#view.setFloat64(this.#at, value);
    this.#at += 8;
  }

  /** What was put since `begin`, to be used before the next number is put. */
  taken(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  #ensure(): void {
    if (this.#at + MOST_BYTES <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(2 * this.#bytes.length);
    this.#bytes.copy(grown);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
