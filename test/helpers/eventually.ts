// Waits for a condition instead of sleeping: tests never guess how long something takes.

/**
 * Calls `check` until it returns something truthy, and resolves with that. Fails with `what` after `withinMs`
 * (10 s unless given), also when `check` does not come back. An exception of it counts as "not yet"; the last one is
 * told in the failure.
 */
export async function eventually<T>(
  what: string,
  check: () => T | Promise<T>,
  withinMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + withinMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await answerOf(check(), deadline);
      if (value) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${withinMs} ms: ${what}${last ? ` (last: ${String(last)})` : ''}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** What a check answers; rejects when it has not somewhat behind the deadline. */
function answerOf<T>(answer: T | Promise<T>, deadline: number): T | Promise<T> {
  if (!(answer instanceof Promise)) return answer;
  return new Promise((resolve, reject) => {
    const hang = () => reject(new Error('the check did not come back'));
    const timer = setTimeout(hang, Math.max(0, deadline - performance.now()) + 1000);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
