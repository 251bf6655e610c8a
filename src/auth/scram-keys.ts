// The keys by which a password is known without being kept (RFC 5802, RFC 7677): salt, iterations, StoredKey and
// ServerKey, written in one line as PostgreSQL writes them. Whoever reads them can neither log in by SCRAM nor read the
// password, but may try passwords; so they are secrets of the configuration. Passwords are normalized (NFKC), so that one
// typed on another keyboard is the same.

import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { assert } from '../util/assert.ts';

const derive = promisify(pbkdf2);

/** Bytes of a key and of a digest. */
export const KEY_BYTES = 32;

/** What is kept of a password. */
export interface ScramKeys {
  readonly salt: Buffer;
  readonly iterations: number;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export function hmac(key: Buffer, text: string | Buffer): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** The keys of a line `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, whose form the configuration has checked. */
export function parseKeys(line: string): ScramKeys {
  const [name, cost, keys] = line.split('$') as [string, string, string];
  const [iterations, salt] = cost.split(':') as [string, string];
  const [storedKey, serverKey] = keys.split(':') as [string, string];
  const read = (text: string) => Buffer.from(text, 'base64');
  const parsed = {
    salt: read(salt),
    iterations: Number(iterations),
    storedKey: read(storedKey),
    serverKey: read(serverKey),
  };
  assert(name === 'SCRAM-SHA-256' && parsed.storedKey.length === KEY_BYTES, 'keys have been checked');
  return parsed;
}

/** The line of keys for a password. */
export async function makeKeys(password: string, salt: Buffer, iterations: number): Promise<string> {
  const { storedKey, serverKey } = await keysOf(password, salt, iterations);
  const text = (bytes: Buffer) => bytes.toString('base64');
  return `SCRAM-SHA-256$${iterations}:${text(salt)}$${text(storedKey)}:${text(serverKey)}`;
}

async function keysOf(password: string, salt: Buffer, iterations: number): Promise<ScramKeys> {
  const salted = await derive(password.normalize('NFKC'), salt, iterations, KEY_BYTES, 'sha256');
  const storedKey = createHash('sha256').update(hmac(salted, 'Client Key')).digest();
  return { salt, iterations, storedKey, serverKey: hmac(salted, 'Server Key') };
}

/** Whether the password has these keys. Takes as long for a wrong one as for the right one. */
export async function isPassword(keys: ScramKeys, password: string): Promise<boolean> {
  const { storedKey } = await keysOf(password, keys.salt, keys.iterations);
  return timingSafeEqual(storedKey, keys.storedKey);
}
