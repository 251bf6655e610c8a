// Waits for a condition instead of sleeping: tests never guess how long something takes.

/**
 * Calls `check` until it returns something truthy, and resolves with that. Fails with `what` after `withinMs`
 * (10 s unless given). An exception of `check` counts as "not yet"; the last one is told in the failure.
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
      const value = await check();
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
