// Which member of a group has the fewest unacknowledged messages. Of those who are connected to this node that is read from
// their sessions; of others the store tells it with each message for them, and what it told last stands until it tells
// more: who is stuck does not look free because nobody has asked for a while. So that one that has recovered comes back,
// a message goes to it now and then, whatever its load seems to be.
// Invariant: one that does not acknowledge gets, beyond its turn as the least loaded one, a message per interval at most.

/** The first interval after which one whose load is in doubt is tried, doubled each time that it is; and the longest. */
const PROBE_FIRST_MS = 1000;
const PROBE_MOST_MS = 16_000;

/** What is known of a member. */
export class MemberLoad {
  /** Messages given to it by this node that the store has not answered yet. */
  pending = 0;
  /** Unacknowledged in its queue before the last message that was answered, and when that was or it was tried (ms). */
  #waiting = 0;
  #toldAtMs = 0;
  #probeMs = PROBE_FIRST_MS;

  /** The store has put a message into the member's queue, which has `waiting` with that one. */
  told(waiting: number, nowMs: number): void {
    const before = waiting - 1;
    if (before === 0 || before < this.#waiting) this.#probeMs = PROBE_FIRST_MS;
    this.#waiting = before;
    this.#toldAtMs = nowMs;
  }

  /** It has connected: what it did not acknowledge before says little. */
  came(): void {
    this.#toldAtMs = Number.NEGATIVE_INFINITY;
    this.#probeMs = PROBE_FIRST_MS;
  }

  /** As far as this node knows. `here` is what its session on this node has, -1 where it has none. */
  of(here: number): number {
    return this.pending + (here < 0 ? this.#waiting : here);
  }

  /** Whether it is to be tried now; it is not to be tried again soon then. */
  takeProbe(nowMs: number): boolean {
    if (this.#waiting === 0 || this.pending > 0 || nowMs - this.#toldAtMs < this.#probeMs) return false;
    this.#toldAtMs = nowMs;
    this.#probeMs = Math.min(2 * this.#probeMs, PROBE_MOST_MS);
    return true;
  }
}

/**
 * The least loaded of `candidates`, the first of them from `start` on, or one to be tried where `nowMs` is given.
 * `hereOf` answers what a member's session on this node has not acknowledged, -1 where it has none.
 */
export function leastLoaded<M extends { readonly load: MemberLoad }>(
  candidates: readonly M[],
  start: number,
  nowMs: number | null,
  hereOf: (member: M) => number,
): M {
  let least = candidates[start]!;
  let leastLoad = Number.POSITIVE_INFINITY;
  for (let step = 0; step < candidates.length; step++) {
    const member = candidates[(start + step) % candidates.length]!;
    const here = hereOf(member);
    if (here < 0 && nowMs !== null && member.load.takeProbe(nowMs)) return member;
    const load = member.load.of(here);
    if (load >= leastLoad) continue;
    least = member;
    leastLoad = load;
  }
  return least;
}
