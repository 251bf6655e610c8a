// The building blocks of the configuration schema: each makes a zod type and notes beside it what zod does not keep
// (the sentence for the documents, the default as written, the unit, whether it is a secret). Documents, the default
// file, the environment mapping and the compiled names all follow from these notes, so that a new option is one entry
// in schema.ts and nothing else.

import { z } from 'zod';
import { type Bytes, formatDuration, formatSize, type Ms, parseDuration, parseSize } from './units.ts';

/** What is known about one option or section, beside its zod type. */
export interface FieldNote {
  readonly kind: 'value' | 'list' | 'section' | 'map';
  /** One line for the documents. */
  readonly doc: string;
  /** The default as it would be written in the file; undefined when the option is unset by default. */
  readonly fallback: unknown;
  readonly unit?: 'Ms' | 'Bytes';
  /** 'value': never printed; 'url': the password inside is never printed. */
  readonly secret?: 'value' | 'url';
  /** What may be written, for the documents. */
  readonly accepts: string;
  /** Sections: their options. Maps: the options of each entry. */
  readonly shape?: z.ZodRawShape;
}

const notes = new WeakMap<object, FieldNote>();

/** The note of a schema made by this file. */
export function noteOf(schema: unknown): FieldNote {
  const note = notes.get(schema as object);
  if (!note) throw new TypeError('a configuration schema entry was not made by fields.ts');
  return note;
}

function noted<T extends z.ZodType>(schema: T, note: FieldNote): T {
  notes.set(schema, note);
  return schema;
}

const scalar = z.union([z.string(), z.number()], { error: 'must be a single value' });

/** What the reference says of a range: from the least value, unless that is 0, to the most, unless there is none. */
function rangeText(kind: string, least: string | undefined, most: string | undefined): string {
  if (least !== undefined && most !== undefined) return `${kind}, ${least} to ${most}`;
  if (least !== undefined) return `${kind}, at least ${least}`;
  return most === undefined ? kind : `${kind}, at most ${most}`;
}

/** A duration; compiled to milliseconds under the name with `Ms` at its end. */
export function duration(fallback: string, doc: string, range: { min?: string; max?: string } = {}) {
  const min = parseDuration(range.min ?? '0') as number;
  const max = parseDuration(range.max ?? 'never') as number;
  const type = scalar.transform((raw, context): Ms => {
    const value = parseDuration(raw);
    if (value !== undefined && value >= min && value <= max) return value;
    const reason =
      value === undefined
        ? `must be a duration such as ${fallback === 'never' ? '1h' : fallback} (units ms, s, m, h, d)`
        : `must be between ${formatDuration(min)} and ${formatDuration(max)}`;
    context.addIssue({ code: 'custom', message: reason });
    return z.NEVER;
  });
  const least = min === 0 ? undefined : formatDuration(min);
  const accepts =
    max === Number.POSITIVE_INFINITY
      ? `${rangeText('duration', least, undefined)}, or never`
      : rangeText('duration', least, formatDuration(max));
  return noted(type.prefault(fallback), { kind: 'value', doc, fallback, unit: 'Ms', accepts });
}

/** A size; compiled to bytes under the name with `Bytes` at its end. */
export function size(fallback: string, doc: string, range: { min?: string; max?: string } = {}) {
  const min = parseSize(range.min ?? '0') as number;
  const max = range.max === undefined ? Number.MAX_SAFE_INTEGER : (parseSize(range.max) as number);
  const type = scalar.transform((raw, context): Bytes => {
    const value = parseSize(raw);
    if (value !== undefined && value >= min && value <= max) return value;
    const most = range.max === undefined ? '' : ` and at most ${formatSize(max)}`;
    const reason =
      value === undefined
        ? `must be a size such as ${fallback} (units KB, MB, GB; powers of 1024)`
        : `must be at least ${formatSize(min)}${most}`;
    context.addIssue({ code: 'custom', message: reason });
    return z.NEVER;
  });
  const least = min === 0 ? undefined : formatSize(min);
  const accepts = rangeText('size', least, range.max === undefined ? undefined : formatSize(max));
  return noted(type.prefault(fallback), { kind: 'value', doc, fallback, unit: 'Bytes', accepts });
}

/** A whole number. */
export function count(fallback: number, doc: string, range: { min?: number; max?: number } = {}) {
  const min = range.min ?? 1;
  const max = range.max ?? Number.MAX_SAFE_INTEGER;
  const bounds = range.max === undefined ? `of at least ${min}` : `from ${min} to ${max}`;
  const type = scalar.transform((raw, context): number => {
    const value = typeof raw === 'string' && /^\d+$/.test(raw.trim()) ? Number(raw) : raw;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) {
      return value;
    }
    context.addIssue({ code: 'custom', message: `must be a whole number ${bounds}` });
    return z.NEVER;
  });
  const accepts = rangeText('number', String(min), range.max === undefined ? undefined : String(max));
  return noted(type.prefault(fallback), { kind: 'value', doc, fallback, accepts });
}

/** A whole number from 1 to `max`, or `auto`, which means as many as there are cores for this process. */
export function countOrAuto(fallback: number, doc: string, max: number) {
  const type = scalar.transform((raw, context): number | 'auto' => {
    if (raw === 'auto') return raw;
    const value = Number(/^\d+$/.test(String(raw).trim()) ? raw : Number.NaN);
    if (value >= 1 && value <= max) return value;
    context.addIssue({ code: 'custom', message: `must be a whole number from 1 to ${max}, or auto` });
    return z.NEVER;
  });
  return noted(type.prefault(fallback), {
    kind: 'value',
    doc,
    fallback,
    accepts: `number, 1 to ${max}, or auto`,
  });
}

/** A switch. */
export function toggle(fallback: boolean, doc: string) {
  const type = z.union([z.boolean(), z.string()]).transform((raw, context): boolean => {
    if (raw === true || raw === 'true' || raw === 'on' || raw === 'yes') return true;
    if (raw === false || raw === 'false' || raw === 'off' || raw === 'no') return false;
    context.addIssue({ code: 'custom', message: 'must be true or false' });
    return z.NEVER;
  });
  return noted(type.prefault(fallback), { kind: 'value', doc, fallback, accepts: 'true, false' });
}

/** One of a few words. */
export function choice<const T extends string>(options: readonly T[], fallback: T, doc: string) {
  const type = z.enum(options, { error: `must be one of ${options.join(', ')}` });
  return noted(type.prefault(fallback), { kind: 'value', doc, fallback, accepts: options.join(', ') });
}

/** One of a few words; unset by default. */
export function optionalChoice<const T extends string>(options: readonly T[], doc: string) {
  const type = z.enum(options, { error: `must be one of ${options.join(', ')}` });
  return noted(type.optional(), { kind: 'value', doc, fallback: undefined, accepts: options.join(', ') });
}

const words = scalar.transform((raw) => String(raw));

/** A text; `pattern` with the sentence that says what it asks for. */
export function text(fallback: string, doc: string, pattern?: { test: RegExp; reason: string }) {
  const type = words.refine((value) => !pattern || pattern.test.test(value), {
    error: pattern?.reason ?? 'is not valid',
  });
  return noted(type.prefault(fallback), { kind: 'value', doc, fallback, accepts: 'text' });
}

/** A text that is unset by default. */
export function optionalText(doc: string) {
  return noted(words.optional(), { kind: 'value', doc, fallback: undefined, accepts: 'text' });
}

/**
 * A text that is never printed, and may come from a file named by the environment variable with `_FILE`; `pattern` with
 * the sentence that says what it asks for.
 */
export function secret(doc: string, pattern?: { test: RegExp; reason: string }) {
  const type = words.refine((value) => !pattern || pattern.test.test(value), {
    error: pattern?.reason ?? 'is not valid',
  });
  return noted(type.optional(), {
    kind: 'value',
    doc,
    fallback: undefined,
    secret: 'value',
    accepts: 'text (secret)',
  });
}

/** An address whose password is never printed. */
export function secretUrl(doc: string) {
  return noted(words.optional(), {
    kind: 'value',
    doc,
    fallback: undefined,
    secret: 'url',
    accepts: 'address',
  });
}

const portNumber = z
  .union([z.number(), z.string(), z.boolean()], { error: 'must be a port or off' })
  .transform((raw, context): number | 'off' => {
    if (raw === 'off' || raw === false) return 'off';
    const value = typeof raw === 'string' && /^\d+$/.test(raw) ? Number(raw) : raw;
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 65535) return value;
    context.addIssue({
      code: 'custom',
      message: 'must be a port from 0 to 65535 (0 picks a free one), or off',
    });
    return z.NEVER;
  });

/** A port; 0 picks a free one, `off` opens nothing. */
export function port(fallback: number, doc: string) {
  return noted(portNumber.prefault(fallback), { kind: 'value', doc, fallback, accepts: 'port or off' });
}

/** A port that is unset by default. */
export function optionalPort(doc: string) {
  return noted(portNumber.optional(), { kind: 'value', doc, fallback: undefined, accepts: 'port or off' });
}

/** A list of texts; one text with commas is a list too, as an environment variable has it. */
export function list(doc: string) {
  const type = z
    .union([z.array(z.string()), z.string()], { error: 'must be a list of texts' })
    .transform((raw) =>
      (Array.isArray(raw) ? raw : raw.split(',')).map((part) => part.trim()).filter((part) => part !== ''),
    );
  return noted(type.prefault([]), { kind: 'list', doc, fallback: [], accepts: 'list' });
}

/** A group of options. */
export function section<S extends z.ZodRawShape>(doc: string, shape: S) {
  const type = z.strictObject(shape, { error: sectionError });
  return noted(type.prefault({} as never), { kind: 'section', doc, fallback: {}, accepts: 'section', shape });
}

/** A group of options that is absent unless one of them is given. */
export function optionalSection<S extends z.ZodRawShape>(doc: string, shape: S) {
  const type = z.strictObject(shape, { error: sectionError });
  return noted(type.optional(), { kind: 'section', doc, fallback: undefined, accepts: 'section', shape });
}

/** Named groups of the same options. What the file gives replaces the default entries. */
export function map<S extends z.ZodRawShape>(doc: string, fallback: Record<string, unknown>, shape: S) {
  const name = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, {
    error: 'a name has letters, digits, - and _ (at most 64), and begins with a letter',
  });
  const type = z.record(name, z.strictObject(shape, { error: sectionError }), {
    error: 'must be a section of names',
  });
  return noted(type.prefault(fallback as never), { kind: 'map', doc, fallback, accepts: 'names', shape });
}

function sectionError(issue: { code?: string | undefined }): string | undefined {
  return issue.code === 'invalid_type' ? 'must be a section (key: value lines)' : undefined;
}
