// A Map that forgets what was not used for long, without lists or timers: two Maps, a young and an old one. What is
// found in the old one moves to the young one; when the young one is full it becomes the old one, and the old one is
// dropped. Every step costs the same however many entries there are.

export class RecentMap<K, V> {
  readonly #youngMax: number;
  #young = new Map<K, V>();
  #old = new Map<K, V>();
  #weight = 0;

  /** Keeps at least half of `max` and at most `max`, counted by the weights given to set(). */
  constructor(max: number) {
    this.#youngMax = Math.max(1, Math.floor(max / 2));
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: K): V | undefined {
    const value = this.#young.get(key);
    return value !== undefined || this.#old.size === 0 ? value : this.#promote(key);
  }

  set(key: K, value: V, weight = 1): void {
    this.#old.delete(key);
    this.#young.set(key, value);
    this.#weight += weight;
    if (this.#weight < this.#youngMax) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#weight = 0;
  }

  delete(key: K): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#weight = 0;
  }

  #promote(key: K): V | undefined {
    const value = this.#old.get(key);
    if (value !== undefined) this.set(key, value);
    return value;
  }
}
