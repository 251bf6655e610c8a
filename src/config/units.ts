// Durations and sizes as people write them ("15s", "1MB") and as the code counts them (milliseconds, bytes). The
// branded types let the compiled configuration put the unit last in each name by itself: a key whose value is `Ms`
// becomes `...Ms`, one whose value is `Bytes` becomes `...Bytes`. Sizes count in powers of 1024.

declare const unit: unique symbol;

/** Milliseconds; Infinity stands for "never". */
export type Ms = number & { readonly [unit]: 'ms' };

/** Bytes. */
export type Bytes = number & { readonly [unit]: 'bytes' };

const DURATION_UNITS = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

const SIZE_UNITS = new Map([
  ['', 1],
  ['b', 1],
  ['k', 1024],
  ['kb', 1024],
  ['kib', 1024],
  ['m', 1024 ** 2],
  ['mb', 1024 ** 2],
  ['mib', 1024 ** 2],
  ['g', 1024 ** 3],
  ['gb', 1024 ** 3],
  ['gib', 1024 ** 3],
]);

/**
 * Reads "500ms", "15s", "1h30m", "30d" or "never". A bare number other than 0 is refused: its unit would be a guess.
 * Returns undefined for anything else.
 */
export function parseDuration(text: string | number): Ms | undefined {
  if (text === 0 || text === '0') return 0 as Ms;
  if (typeof text === 'number') return undefined;
  const trimmed = text.trim().toLowerCase();
  if (trimmed === 'never') return Number.POSITIVE_INFINITY as Ms;
  if (!/^(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$/.test(trimmed)) return undefined;
  let total = 0;
  for (const [, count, name] of trimmed.matchAll(/(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)/g)) {
    total += Number(count) * (DURATION_UNITS.get(name as string) as number);
  }
  return Number.isSafeInteger(total) ? (total as Ms) : undefined;
}

/** Reads "1MB", "64KB", "512" or a number of bytes. Returns undefined for anything else. */
export function parseSize(text: string | number): Bytes | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/.exec(String(text).trim().toLowerCase());
  const factor = match ? SIZE_UNITS.get(match[2] as string) : undefined;
  if (!match || factor === undefined) return undefined;
  const total = Number(match[1]) * factor;
  return Number.isSafeInteger(total) ? (total as Bytes) : undefined;
}

/** The shortest exact way to write a duration: 90000 is "90s", 3600000 is "1h". */
export function formatDuration(ms: number): string {
  if (ms === Number.POSITIVE_INFINITY) return 'never';
  for (const name of ['d', 'h', 'm', 's']) {
    const factor = DURATION_UNITS.get(name) as number;
    if (ms !== 0 && ms % factor === 0) return `${ms / factor}${name}`;
  }
  return ms === 0 ? '0s' : `${ms}ms`;
}

/** The shortest exact way to write a size: 2097152 is "2MB". */
export function formatSize(bytes: number): string {
  for (const [name, power] of [
    ['GB', 3],
    ['MB', 2],
    ['KB', 1],
  ] as const) {
    if (bytes !== 0 && bytes % 1024 ** power === 0) return `${bytes / 1024 ** power}${name}`;
  }
  return String(bytes);
}
