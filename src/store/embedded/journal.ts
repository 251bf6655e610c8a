// Where the embedded store's changes are kept: the interface, and the one that lies in a level store (a directory by
// classic-level, or memory by memory-level). A journal keeps the present value of each key, written batch by batch, whole
// or not at all. It knows nothing of what the keys mean but the one that tells the layout's version.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { AbstractLevel } from 'abstract-level';
import { ClassicLevel } from 'classic-level';
import { MemoryLevel } from 'memory-level';
import { SwarmqError } from '../../util/errors.ts';
import { FORMAT_KEY, FORMAT_VERSION } from './stored.ts';
import type { Batch } from './write-set.ts';

export interface Journal {
  /**
   * Opens it and hands over every record. Throws SWARMQ_ERR_STORE_LOCKED, SWARMQ_ERR_STORE_UNREACHABLE,
   * SWARMQ_ERR_RECORD_VERSION, and what `load` throws.
   */
  open(load: (key: string, value: Buffer) => void): Promise<void>;
  /** Writes a batch; `done` is told null, or why it could not be written. One at a time. */
  write(batch: Batch, done: (error: Error | null) => void): void;
  close(): Promise<void>;
}

type Level = AbstractLevel<string | Buffer | Uint8Array, string, Buffer>;

const ENCODINGS = { keyEncoding: 'utf8', valueEncoding: 'buffer' } as const;
const LOAD_CHUNK = 1000;

export class LevelJournal implements Journal {
  readonly #make: () => Level;
  readonly #directory: string | null;
  #level: Level | null = null;
  /** A write failed: level refuses all further ones until it is opened anew. */
  #isBroken = false;

  /** `directory` null keeps everything in memory. */
  constructor(directory: string | null) {
    this.#directory = directory;
    this.#make =
      directory === null
        ? () => new MemoryLevel<string, Buffer>({ ...ENCODINGS, storeEncoding: 'buffer' }) as Level
        : () => new ClassicLevel<string, Buffer>(join(directory, 'store'), ENCODINGS) as Level;
  }

  async open(load: (key: string, value: Buffer) => void): Promise<void> {
    const level = await this.#openLevel();
    try {
      await checkFormat(level);
      const entries = level.iterator();
      for (let some = await entries.nextv(LOAD_CHUNK); some.length > 0; ) {
        for (const [key, value] of some) if (key !== FORMAT_KEY) load(key, value);
        some = await entries.nextv(LOAD_CHUNK);
      }
      await entries.close();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  write(batch: Batch, done: (error: Error | null) => void): void {
    this.#write(batch).then(
      () => done(null),
      (error: Error) => {
        this.#isBroken = true;
        done(error);
      },
    );
  }

  async close(): Promise<void> {
    const level = this.#level;
    this.#level = null;
    await level?.close();
  }

  async #write(batch: Batch): Promise<void> {
    if (this.#isBroken && this.#directory !== null) {
      await this.close();
      await this.#openLevel();
    }
    this.#isBroken = false;
    const level = this.#level;
    if (level === null) throw new SwarmqError('SWARMQ_ERR_STORE_CLOSED', 'the journal is not open');
    // A chained batch costs a sixth of an array of operations, which abstract-level copies one by one.
    const chained = level.batch();
    for (const [key, value] of batch.changes) {
      if (value === null) chained.del(key);
      else chained.put(key, value);
    }
    const options: object = { sync: batch.isDurable };
    await chained.write(options);
  }

  async #openLevel(): Promise<Level> {
    try {
      if (this.#directory !== null) await mkdir(this.#directory, { recursive: true });
      const level = this.#make();
      await level.open();
      this.#level = level;
      return level;
    } catch (error) {
      throw openError(error, this.#directory);
    }
  }
}

async function checkFormat(level: Level): Promise<void> {
  const found = await level.get(FORMAT_KEY);
  if (found?.length === 1 && found[0] === FORMAT_VERSION) return;
  if (found !== undefined) {
    const detail = `the data directory has layout ${found[0]}, known is ${FORMAT_VERSION}`;
    throw new SwarmqError('SWARMQ_ERR_RECORD_VERSION', detail);
  }
  for await (const key of level.keys({ limit: 1 })) {
    throw new SwarmqError('SWARMQ_ERR_RECORD_VERSION', `no layout is told, but there is ${key.slice(0, 20)}`);
  }
  const options: object = { sync: true };
  await level.put(FORMAT_KEY, Buffer.from([FORMAT_VERSION]), options);
}

function openError(error: unknown, directory: string | null): SwarmqError {
  const { code, message, cause } = error as { code?: string; message: string; cause?: unknown };
  const inner = cause as { code?: string; message?: string } | undefined;
  const isLocked = code === 'LEVEL_LOCKED' || inner?.code === 'LEVEL_LOCKED';
  const detail = `${directory}: ${inner?.message ?? message}`;
  return new SwarmqError(isLocked ? 'SWARMQ_ERR_STORE_LOCKED' : 'SWARMQ_ERR_STORE_UNREACHABLE', detail, {
    cause: error,
  });
}
