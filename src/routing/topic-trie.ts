// Which values stand under the filters that match a topic. Filters without wildcards lie in one flat Map; those with
// wildcards in a trie by level, in which a chain that nobody shares is one leaf holding the rest of its filter, so that
// a million filters cost about one Map entry and one small object each. The trie knows nothing of sessions or nodes and
// holds no filter list: whoever adds a value must remember its filter to remove it. Filters are valid and not shared
// ones; an ill-placed wildcard would be an ordinary character.

/** Values of one filter: one value bare, few in an exact array, many in a Set. */
type Bag<T> = T | T[] | Set<T>;

/** From this many values on a Set is kept: an array is then slower to search than a Set is large. */
const ARRAY_MAX = 8;
const PLUS = 43;
const SEPARATOR = 47;
const HASH = 35;
const DOLLAR = 36;
/** V8 makes a substring from this length on a view that keeps its parent; keys shall not keep whole filters. */
const VIEW_LENGTH_MIN = 13;

class Leaf<T> {
  /** What follows the level under which the leaf stands: '' or '/' and more levels. */
  readonly rest: string;
  bag: Bag<T>;

  constructor(rest: string, bag: Bag<T>) {
    this.rest = rest;
    this.bag = bag;
  }
}

class Branch<T> {
  /** Values of the filter that ends here. */
  here: Bag<T> | undefined = undefined;
  /** Values of the filter that ends here with `#`. */
  below: Bag<T> | undefined = undefined;
  plus: Child<T> | undefined = undefined;
  named: Map<string, Child<T>> | undefined = undefined;

  isEmpty(): boolean {
    return (
      this.here === undefined &&
      this.below === undefined &&
      this.plus === undefined &&
      (this.named === undefined || this.named.size === 0)
    );
  }
}

type Child<T> = Leaf<T> | Branch<T>;

/** `T` is a number or an object that is neither an array nor a Set; values are compared by identity. */
export class TopicTrie<T extends number | object> {
  readonly #exact = new Map<string, Bag<T>>();
  readonly #root = new Branch<T>();
  #wildcards = 0;
  /** Branches still to be visited by match(), and where in the topic each begins. Kept to spare allocations. */
  readonly #pending: Branch<T>[] = [];
  readonly #starts: number[] = [];

  /** Distinct filters that hold at least one value. */
  get filterCount(): number {
    return this.#exact.size + this.#wildcards;
  }

  /** Filters with a wildcard among them. */
  get wildcardCount(): number {
    return this.#wildcards;
  }

  /** Adds a value under a filter; a value that stands there already changes nothing. */
  add(filter: string, value: T): void {
    if (!isWildcardFilter(filter)) {
      this.#exact.set(filter, bagWith(this.#exact.get(filter), value));
      return;
    }
    let branch = this.#root;
    let start = 0;
    for (;;) {
      const end = levelEnd(filter, start);
      if (isHashLevel(filter, start)) {
        if (branch.below === undefined) this.#wildcards++;
        branch.below = bagWith(branch.below, value);
        return;
      }
      const name = filter.slice(start, end);
      const child = childOf(branch, name);
      if (child === undefined) {
        setChild(branch, owned(name), new Leaf(owned(filter.slice(end)), value));
        this.#wildcards++;
        return;
      }
      if (child instanceof Leaf && isRest(child.rest, filter, end)) {
        child.bag = bagWith(child.bag, value);
        return;
      }
      const next = child instanceof Leaf ? expand(child) : child;
      if (next !== child) setChild(branch, owned(name), next);
      if (end === filter.length) {
        if (next.here === undefined) this.#wildcards++;
        next.here = bagWith(next.here, value);
        return;
      }
      branch = next;
      start = end + 1;
    }
  }

  /** Takes a value from under a filter; one that does not stand there changes nothing. */
  remove(filter: string, value: T): void {
    if (!isWildcardFilter(filter)) {
      const rest = bagWithout(this.#exact.get(filter), value);
      if (rest === undefined) this.#exact.delete(filter);
      else this.#exact.set(filter, rest);
      return;
    }
    const path: Branch<T>[] = [];
    const names: string[] = [];
    let branch = this.#root;
    let start = 0;
    for (;;) {
      if (isHashLevel(filter, start)) {
        if (branch.below === undefined) return;
        branch.below = bagWithout(branch.below, value);
        if (branch.below === undefined) this.#wildcards--;
        break;
      }
      const end = levelEnd(filter, start);
      const name = filter.slice(start, end);
      const child = childOf(branch, name);
      if (child === undefined) return;
      if (child instanceof Leaf) {
        if (!isRest(child.rest, filter, end)) return;
        const rest = bagWithout(child.bag, value);
        if (rest !== undefined) child.bag = rest;
        else {
          removeChild(branch, name);
          this.#wildcards--;
        }
        break;
      }
      path.push(branch);
      names.push(name);
      branch = child;
      if (end === filter.length) {
        if (branch.here === undefined) return;
        branch.here = bagWithout(branch.here, value);
        if (branch.here === undefined) this.#wildcards--;
        break;
      }
      start = end + 1;
    }
    for (let depth = path.length - 1; depth >= 0 && branch.isEmpty(); depth--) {
      branch = path[depth]!;
      removeChild(branch, names[depth]!);
    }
  }

  /**
   * Calls `visit` for each value under each filter that matches the topic name; a value under several of them is
   * visited several times. Wildcards in the first level match no topic that begins with `$` [MQTT-4.7.2-1].
   * `visit` must not call match().
   */
  match(topic: string, visit: (value: T) => void): void {
    const exact = this.#exact.get(topic);
    if (exact !== undefined) visitBag(exact, visit);
    if (this.#wildcards === 0) return;
    const isReserved = topic.charCodeAt(0) === DOLLAR;
    if (!isReserved) this.#enter(this.#root, 0, topic, visit);
    else
      this.#follow(
        this.#root.named?.get(topic.slice(0, levelEnd(topic, 0))),
        levelEnd(topic, 0),
        topic,
        visit,
      );
    while (this.#pending.length > 0) {
      const branch = this.#pending.pop()!;
      this.#enter(branch, this.#starts.pop()!, topic, visit);
    }
  }

  /** Visits what ends at a branch and follows its children; `start` is beyond the topic where no level is left. */
  #enter(branch: Branch<T>, start: number, topic: string, visit: (value: T) => void): void {
    if (branch.below !== undefined) visitBag(branch.below, visit);
    if (start > topic.length) {
      if (branch.here !== undefined) visitBag(branch.here, visit);
      return;
    }
    const end = levelEnd(topic, start);
    if (branch.plus !== undefined) this.#follow(branch.plus, end, topic, visit);
    if (branch.named !== undefined)
      this.#follow(branch.named.get(topic.slice(start, end)), end, topic, visit);
  }

  #follow(child: Child<T> | undefined, end: number, topic: string, visit: (value: T) => void): void {
    if (child === undefined) return;
    if (child instanceof Leaf) {
      if (restMatches(child.rest, topic, end)) visitBag(child.bag, visit);
      return;
    }
    this.#pending.push(child);
    this.#starts.push(end + 1);
  }
}

/** True where a level of the filter is `+`, or its last one `#`. */
export function isWildcardFilter(filter: string): boolean {
  return firstWildcard(filter) >= 0;
}

/** Where the first level that is a wildcard begins, -1 in a filter without one. */
export function firstWildcard(filter: string): number {
  for (let at = 0; at < filter.length; at++) {
    const character = filter.charCodeAt(at);
    if (character !== PLUS && character !== HASH) continue;
    if (at > 0 && filter.charCodeAt(at - 1) !== SEPARATOR) continue;
    if (character === HASH ? at === filter.length - 1 : isLevelEnd(filter, at + 1)) return at;
  }
  return -1;
}

function isLevelEnd(text: string, at: number): boolean {
  return at === text.length || text.charCodeAt(at) === SEPARATOR;
}

function levelEnd(text: string, start: number): number {
  const end = text.indexOf('/', start);
  return end < 0 ? text.length : end;
}

function isHashLevel(filter: string, start: number): boolean {
  return start === filter.length - 1 && filter.charCodeAt(start) === HASH;
}

function isRest(rest: string, filter: string, end: number): boolean {
  return rest.length === filter.length - end && filter.endsWith(rest);
}

/** Whether `rest` ('' or '/' and levels with wildcards) matches what follows `start` in the topic. */
function restMatches(rest: string, topic: string, start: number): boolean {
  let at = start;
  let level = 0;
  while (level < rest.length) {
    if (isHashLevel(rest, level + 1)) return true;
    if (at >= topic.length) return false;
    level++;
    at++;
    if (rest.charCodeAt(level) === PLUS && isLevelEnd(rest, level + 1)) {
      level++;
      at = levelEnd(topic, at);
      continue;
    }
    while (!isLevelEnd(rest, level)) {
      if (at >= topic.length || rest.charCodeAt(level) !== topic.charCodeAt(at)) return false;
      level++;
      at++;
    }
    if (!isLevelEnd(topic, at)) return false;
  }
  return at >= topic.length;
}

function childOf<T>(branch: Branch<T>, name: string): Child<T> | undefined {
  return name === '+' ? branch.plus : branch.named?.get(name);
}

function setChild<T>(branch: Branch<T>, name: string, child: Child<T>): void {
  if (name === '+') branch.plus = child;
  else {
    branch.named ??= new Map();
    branch.named.set(name, child);
  }
}

function removeChild<T>(branch: Branch<T>, name: string): void {
  if (name === '+') branch.plus = undefined;
  else if (branch.named?.delete(name) && branch.named.size === 0) branch.named = undefined;
}

/** A leaf that has to share its way becomes a branch with what it held one level further down. */
function expand<T>(leaf: Leaf<T>): Branch<T> {
  const branch = new Branch<T>();
  const { rest } = leaf;
  if (rest === '') branch.here = leaf.bag;
  else if (isHashLevel(rest, 1)) branch.below = leaf.bag;
  else {
    const end = levelEnd(rest, 1);
    setChild(branch, owned(rest.slice(1, end)), new Leaf(owned(rest.slice(end)), leaf.bag));
  }
  return branch;
}

/** The same text as a string of its own, not as a view into a longer one. */
function owned(text: string): string {
  return text.length < VIEW_LENGTH_MIN ? text : Buffer.from(text, 'utf16le').toString('utf16le');
}

function bagWith<T>(bag: Bag<T> | undefined, value: T): Bag<T> {
  if (bag === undefined || bag === value) return value;
  if (bag instanceof Set) return bag.add(value);
  if (!Array.isArray(bag)) return [bag, value];
  if (bag.includes(value)) return bag;
  // A copy is exactly as large as it must be; push() would reserve room for many more.
  return bag.length < ARRAY_MAX ? [...bag, value] : new Set(bag).add(value);
}

function bagWithout<T>(bag: Bag<T> | undefined, value: T): Bag<T> | undefined {
  if (bag === undefined || bag === value) return undefined;
  if (bag instanceof Set) {
    if (!bag.delete(value) || bag.size > ARRAY_MAX / 2) return bag;
    return [...bag];
  }
  if (!Array.isArray(bag)) return bag;
  const rest = bag.filter((one) => one !== value);
  return rest.length === 1 ? rest[0] : rest;
}

function visitBag<T>(bag: Bag<T>, visit: (value: T) => void): void {
  if (bag instanceof Set) for (const value of bag) visit(value);
  else if (Array.isArray(bag)) for (const value of bag) visit(value);
  else visit(bag);
}
