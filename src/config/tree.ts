// The configuration as a plain tree of what was written, with a note of where each value came from. Layers (defaults,
// file, environment, flags) are laid over one another here; the check of the whole comes after, in compile.ts, which
// asks this file for the source of each problem. Sections merge; values and lists replace.

import type { z } from 'zod';
import { type FieldNote, noteOf } from './fields.ts';
import { nearestName, plain } from './nearest.ts';
import { configShape } from './schema.ts';

/** A tree of written values; groups are objects without a prototype, so that no name from a file is special. */
export interface RawTree {
  [name: string]: unknown;
}

/** Values and where each came from, by joined path. */
export class LayeredTree {
  readonly values: RawTree = emptyTree();
  readonly #sources = new Map<string, string>();

  /** Sets one value; groups on the way are made. A value that stands where a group belongs gives way. */
  set(path: readonly string[], value: unknown, source: string): void {
    let group = this.values;
    for (const name of path.slice(0, -1)) {
      if (!isGroup(group[name])) group[name] = emptyTree();
      group = group[name] as RawTree;
    }
    group[path.at(-1) as string] = value;
    this.#sources.set(path.join('.'), source);
  }

  /** Where the value at `path` came from, or the group that it would stand in; '' when nobody wrote it. */
  sourceOf(path: readonly PropertyKey[]): string {
    for (let length = path.length; length > 0; length--) {
      const source = this.#sources.get(path.slice(0, length).join('.'));
      if (source !== undefined) return source;
    }
    return '';
  }

  /** The source of exactly this value; undefined when it is a default. */
  ownSourceOf(path: readonly string[]): string | undefined {
    return this.#sources.get(path.join('.'));
  }
}

export function emptyTree(): RawTree {
  return Object.create(null) as RawTree;
}

export function isGroup(value: unknown): value is RawTree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Options of a group, by name; for the map of listeners, the options of an entry under the entry's name. */
export function shapeAt(path: readonly string[]): z.ZodRawShape | undefined {
  let shape: z.ZodRawShape | undefined = configShape as z.ZodRawShape;
  let entryShape: z.ZodRawShape | undefined;
  for (const name of path) {
    if (entryShape) {
      shape = entryShape;
      entryShape = undefined;
      continue;
    }
    if (!shape || !Object.hasOwn(shape, name)) return undefined;
    const note: FieldNote = noteOf(shape[name]);
    if (note.kind === 'map') entryShape = note.shape;
    shape = note.shape;
  }
  return entryShape ? undefined : shape;
}

/** The note of the option at a path; undefined when there is none, or the path names an entry of a map. */
export function noteAt(path: readonly string[]): FieldNote | undefined {
  const shape = shapeAt(path.slice(0, -1));
  const name = path.at(-1);
  return shape && name !== undefined && Object.hasOwn(shape, name) ? noteOf(shape[name]) : undefined;
}

/**
 * The sentence for a key nobody knows: the nearest name of the same group, else the same name in another group (a
 * common slip: `maxPacketSize` at the top instead of under `limits`).
 */
export function unknownKeyReason(path: readonly string[]): string {
  const name = path.at(-1) as string;
  const siblings = Object.keys(shapeAt(path.slice(0, -1)) ?? {});
  const near = nearestName(name, siblings);
  if (near !== undefined) return `unknown key; the nearest known key is ${near}`;
  const elsewhere = allKeys().find((key) => plain(key.split('.').at(-1) as string) === plain(name));
  if (elsewhere !== undefined) return `unknown key; there is ${elsewhere}`;
  return `unknown key; known here: ${siblings.join(', ')}`;
}

/** Every option's key; an entry of a map is written `<name>`. */
export function allKeys(shape: z.ZodRawShape = configShape as z.ZodRawShape, prefix = ''): string[] {
  return Object.entries(shape).flatMap(([name, schema]) => {
    const note = noteOf(schema);
    if (note.kind === 'section') return allKeys(note.shape, `${prefix}${name}.`);
    if (note.kind === 'map') return allKeys(note.shape, `${prefix}${name}.<name>.`);
    return [prefix + name];
  });
}
