// Who of several members gets a key that nobody has: each has a score for it, which is made of the hashes of both and so
// is the same on every node and in any order of the members. When a member goes only its keys move.
// Invariant: of any two members one is better for a key, and all nodes say the same one.

/** What keys ask of a member. */
export interface KeyHolder {
  readonly clientId: string;
  /** hashOf(clientId) */
  readonly hash: number;
  /** Incarnation of the node that it is connected to, '' for none. */
  readonly node: string;
  /** Another number each time that it comes or goes away. */
  readonly stay: number;
}

/** The member with the highest score for a key. */
export function best<M extends KeyHolder>(candidates: readonly M[], key: string): M {
  const keyHash = hashOf(key);
  let winner = candidates[0]!;
  let score = scoreOf(keyHash, winner);
  for (let at = 1; at < candidates.length; at++) {
    if (!isBetter(keyHash, candidates[at]!, winner, score)) continue;
    winner = candidates[at]!;
    score = scoreOf(keyHash, winner);
  }
  return winner;
}

/** How many of the candidates have to be looked at to find one that is better than the holder; 0 where none is. */
export function firstBetter<M extends KeyHolder>(
  candidates: readonly M[],
  keyHash: number,
  holder: M,
): number {
  const score = scoreOf(keyHash, holder);
  for (let at = 0; at < candidates.length; at++) {
    if (isBetter(keyHash, candidates[at]!, holder, score)) return at + 1;
  }
  return 0;
}

/** FNV-1a over the characters of a text. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** Better than a member that has this score. */
function isBetter(keyHash: number, one: KeyHolder, other: KeyHolder, otherScore: number): boolean {
  const score = scoreOf(keyHash, one);
  return score > otherScore || (score === otherScore && one.clientId < other.clientId);
}

/** Both hashes, mixed so that every bit depends on every bit. */
function scoreOf(keyHash: number, { hash }: KeyHolder): number {
  let score = keyHash ^ Math.imul(hash, 0x9e3779b1);
  score = Math.imul(score ^ (score >>> 16), 0x85ebca6b);
  score = Math.imul(score ^ (score >>> 13), 0xc2b2ae35);
  return (score ^ (score >>> 16)) >>> 0;
}
