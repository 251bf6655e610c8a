// An ordered set of strings (by UTF-16 units) with a cheap "first one from here on": the base of everything in the
// embedded store that is read in order or by pages. Keys lie in chunks of a few hundred, so that adding one moves little
// memory; a chunk is never empty, and the first key of each chunk is above the last one of the chunk before.

const CHUNK_MAX = 512;

export class SortedKeys {
  readonly #chunks: string[][] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** False when the key was there already. */
  add(key: string): boolean {
    if (this.#chunks.length === 0) {
      this.#chunks.push([key]);
      this.#size = 1;
      return true;
    }
    const index = this.#chunkOf(key);
    const chunk = this.#chunks[index]!;
    const at = lowerBound(chunk, key);
    if (chunk[at] === key) return false;
    chunk.splice(at, 0, key);
    this.#size++;
    if (chunk.length > CHUNK_MAX) {
      // Keys often come in rising order: then the left part stays as full as it can be.
      const cut = at === chunk.length - 1 ? CHUNK_MAX : CHUNK_MAX >> 1;
      this.#chunks.splice(index + 1, 0, chunk.splice(cut));
    }
    return true;
  }

  /** False when the key was not there. */
  delete(key: string): boolean {
    if (this.#chunks.length === 0) return false;
    const index = this.#chunkOf(key);
    const chunk = this.#chunks[index]!;
    const at = lowerBound(chunk, key);
    if (chunk[at] !== key) return false;
    chunk.splice(at, 1);
    this.#size--;
    if (chunk.length === 0) this.#chunks.splice(index, 1);
    return true;
  }

  /** The first key that is not below `from`. */
  seek(from: string): string | undefined {
    return this.#first(from, false);
  }

  /** The first key above `key`, which need not be there. */
  after(key: string): string | undefined {
    return this.#first(key, true);
  }

  /** At most `limit` keys from behind `after` on; '' begins. */
  page(after: string, limit: number): string[] {
    const keys: string[] = [];
    let key = after === '' ? this.seek('') : this.after(after);
    while (key !== undefined && keys.length < limit) {
      keys.push(key);
      key = this.after(key);
    }
    return keys;
  }

  #first(from: string, isAbove: boolean): string | undefined {
    if (this.#chunks.length === 0) return undefined;
    const index = this.#chunkOf(from);
    const chunk = this.#chunks[index]!;
    let at = lowerBound(chunk, from);
    if (isAbove && chunk[at] === from) at++;
    return at < chunk.length ? chunk[at] : this.#chunks[index + 1]?.[0];
  }

  /** Index of the last chunk whose first key is not above `key`; 0 when there is none. */
  #chunkOf(key: string): number {
    let low = 0;
    let high = this.#chunks.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#chunks[middle]![0]! <= key) low = middle;
      else high = middle;
    }
    return low;
  }
}

function lowerBound(chunk: readonly string[], key: string): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (chunk[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
