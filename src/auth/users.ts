// The users that the configuration names. A name that nobody has is answered with keys of its own that no password has,
// the same on every node with the same list, so that neither answers nor their time tell which names exist. Deriving keys
// from a password takes milliseconds of a thread that others need as well: a few are at work at a time, the rest waits in
// line (one per connecting client, whose number is limited), and a password that was right is known again by a digest
// under a key of this process.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Random } from '../util/random.ts';
import { hmac, isPassword, KEY_BYTES, parseKeys, type ScramKeys } from './scram-keys.ts';

/** Passwords whose keys are derived at a time. */
const DERIVED_AT_ONCE = 2;
const SALT_BYTES = 16;
const DEFAULT_ITERATIONS = 4096;

/** A user as the configuration has it; `keys` is a line of scram-keys.ts. */
export interface UserEntry {
  readonly username: string;
  readonly keys: string;
}

interface User {
  readonly keys: ScramKeys;
  /** Digest of the password that was found right. */
  known: Buffer | null;
}

export class Users {
  readonly #users = new Map<string, User>();
  readonly #processKey: Buffer;
  /** Keys of nobody are made from it. */
  readonly #listKey: Buffer;
  readonly #iterations: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(entries: readonly UserEntry[], random: Random) {
    for (const { username, keys } of entries) {
      this.#users.set(username, { keys: parseKeys(keys), known: null });
    }
    this.#processKey = Buffer.from(random.id(KEY_BYTES));
    const lines = entries.map(({ username, keys }) => `${username} ${keys}`).sort();
    this.#listKey = createHash('sha256').update(lines.join('\n')).digest();
    const [first] = this.#users.values();
    this.#iterations = first?.keys.iterations ?? DEFAULT_ITERATIONS;
  }

  get size(): number {
    return this.#users.size;
  }

  /** The keys of a user, or keys that no password has. */
  keysOf(username: string): ScramKeys {
    const user = this.#users.get(username);
    if (user !== undefined) return user.keys;
    const part = (name: string) => hmac(this.#listKey, `${name} ${username}`);
    return {
      salt: part('salt').subarray(0, SALT_BYTES),
      iterations: this.#iterations,
      storedKey: part('stored key'),
      serverKey: part('server key'),
    };
  }

  has(username: string): boolean {
    return this.#users.has(username);
  }

  /** Whether there is such a user with this password. */
  async check(username: string, password: Buffer): Promise<boolean> {
    const user = this.#users.get(username);
    const digest = hmac(this.#processKey, password);
    if (user?.known && timingSafeEqual(user.known, digest)) return true;
    if (this.#running >= DERIVED_AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      const isRight = await isPassword(this.keysOf(username), password.toString('utf8'));
      if (!isRight || user === undefined) return false;
      user.known = digest;
      return true;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
