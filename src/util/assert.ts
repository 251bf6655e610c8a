// Checks of our own invariants. A failed one is a bug of ours: the process ends rather than going on wrongly.

export class AssertionError extends Error {
  override name = 'AssertionError';
}

/** Throws AssertionError unless `condition` holds. `message` says which invariant is broken. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
