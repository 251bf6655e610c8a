// Names in the order of their deadlines (store ms). It frees nothing and judges nothing: who asks is told which names are
// due, and looks at the record itself. A name stands here at most once per owner's care: the owner remembers under which
// deadline it put it in.

import { SortedKeys } from './sorted-keys.ts';

const DIGITS = 16;

export class Deadlines {
  readonly #keys = new SortedKeys();

  get size(): number {
    return this.#keys.size;
  }

  add(name: string, atMs: number): void {
    this.#keys.add(keyOf(name, atMs));
  }

  remove(name: string, atMs: number): void {
    this.#keys.delete(keyOf(name, atMs));
  }

  /** At most `limit` names whose deadline is not above `nowMs`, the oldest first. */
  due(nowMs: number, limit: number): string[] {
    const names: string[] = [];
    const end = keyOf('', nowMs + 1);
    let key = this.#keys.seek('');
    while (key !== undefined && key < end && names.length < limit) {
      names.push(key.slice(DIGITS));
      key = this.#keys.after(key);
    }
    return names;
  }
}

function keyOf(name: string, atMs: number): string {
  return String(Math.floor(atMs)).padStart(DIGITS, '0') + name;
}
