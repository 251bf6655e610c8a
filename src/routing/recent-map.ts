// A Map that forgets what was not used for long, without lists or timers: two Maps, a young and an old one. What is
// found in the old one moves to the young one; when the young one is full it becomes the old one, and the old one is
// dropped. Every step costs the same however many entries there are.

export class RecentMap<K, V> {
  readonly #youngMax: number;
  readonly #weigh: (value: V) => number;
  readonly #onForgotten: (count: number) => void;
  #young = new Map<K, V>();
  #old = new Map<K, V>();
  #weight = 0;

  /**
   * Keeps at most about `max` and, of what is used, at least half of it, counted by the weights of the values.
   * `onForgotten` is told how many were dropped to make room.
   */
  constructor(
    max: number,
    weigh: (value: V) => number = () => 1,
    onForgotten: (count: number) => void = () => {},
  ) {
    this.#youngMax = Math.max(1, Math.floor(max / 2));
    this.#weigh = weigh;
    this.#onForgotten = onForgotten;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: K): V | undefined {
    const value = this.#young.get(key);
    return value !== undefined || this.#old.size === 0 ? value : this.#promote(key);
  }

  /** The same, and it counts as no use. */
  peek(key: K): V | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  /** All keys there are now. */
  keys(): K[] {
    return [...this.#young.keys()].concat([...this.#old.keys()]);
  }

  set(key: K, value: V): void {
    this.#old.delete(key);
    const before = this.#young.get(key);
    this.#young.set(key, value);
    this.#weight += this.#weigh(value) - (before === undefined ? 0 : this.#weigh(before));
    if (this.#weight < this.#youngMax) return;
    const forgotten = this.#old.size;
    this.#old = this.#young;
    this.#young = new Map();
    this.#weight = 0;
    if (forgotten > 0) this.#onForgotten(forgotten);
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
