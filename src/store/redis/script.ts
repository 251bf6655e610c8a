// The Lua scripts: reads them beside this module, puts included functions in their place, and knows their digests. A
// script is called by EVALSHA; a server that does not know it yet gets all of them (NOSCRIPT after a restart, a failover
// or SCRIPT FLUSH). Keys and arguments are named where the script is defined, so that call sites cannot mix them up.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Argument, type CommandWriter, encodeCommand } from './resp.ts';

const FOLDER = new URL('./scripts/', import.meta.url);
const INCLUDE = /^--- @include "([a-z-]+)"$/gm;

function readSource(name: string): string {
  const included = new Set<string>();
  const expand = (text: string, from: string): string =>
    text.replace(INCLUDE, (_line, what: string) => {
      // Each function once, whoever asks for it first.
      if (included.has(what)) return '';
      included.add(what);
      return expand(readFileSync(new URL(`includes/${what}.lua`, FOLDER), 'utf8'), `${from} > ${what}`);
    });
  return expand(readFileSync(new URL(`${name}.lua`, FOLDER), 'utf8'), name);
}

const all: Script[] = [];

/** Every script that was defined, for loading. */
export const allScripts = (): readonly Script[] => all;

/** One Lua file. `keys` and `args` are the names of KEYS and ARGV in order; more may follow the last of each. */
export class Script<K extends string = string, A extends string = string> {
  readonly name: string;
  readonly keys: readonly K[];
  readonly args: readonly A[];
  readonly source: string;
  readonly digest: string;

  constructor(name: string, keys: readonly K[], args: readonly A[]) {
    this.name = name;
    this.keys = keys;
    this.args = args;
    this.source = readSource(name);
    this.digest = createHash('sha1').update(this.source).digest('hex');
    all.push(this as unknown as Script);
  }

  /** Writes the beginning of the EVALSHA command, up to its keys, of which there may be more than have names. */
  open(writer: CommandWriter, keys: number = this.keys.length): void {
    writer.begin();
    writer.ascii('EVALSHA');
    writer.ascii(this.digest);
    writer.number(keys);
  }

  /** Writes the EVALSHA command into a batch. `moreArgs` follow the named ones. */
  write(
    writer: CommandWriter,
    keys: Readonly<Record<K, string>>,
    args: Readonly<Record<A, Argument>>,
    moreArgs: readonly Argument[] = [],
  ): void {
    this.open(writer);
    for (const name of this.keys) writer.text(keys[name]);
    for (const name of this.args) writer.argument(args[name]);
    for (const argument of moreArgs) writer.argument(argument);
    writer.end();
  }

  /** The EVALSHA command. `moreKeys` and `moreArgs` follow the named ones. */
  encode(
    keys: Readonly<Record<K, string>>,
    args: Readonly<Record<A, Argument>>,
    moreArgs: readonly Argument[] = [],
    moreKeys: readonly string[] = [],
  ): Buffer {
    return encodeCommand(
      'EVALSHA',
      this.digest,
      this.keys.length + moreKeys.length,
      ...this.keys.map((name) => keys[name]),
      ...moreKeys,
      ...this.args.map((name) => args[name]),
      ...moreArgs,
    );
  }
}

/** Writes the arguments of a call into a batch. */
export type WriteCall = (writer: CommandWriter, history: string) => void;

export function defineScript<const K extends string, const A extends string>(
  name: string,
  keys: readonly K[],
  args: readonly A[],
): Script<K, A> {
  return new Script(name, keys, args);
}
