// SCRAM-SHA-256 as the server (RFC 5802, RFC 7677) in the data of MQTT 5's AUTH packets: the client proves that it knows
// the password without sending it, and learns that the server knows its keys. Channel binding is not offered. Whatever
// the client does wrong has the same answer, "not authorized", and for a user that does not exist it comes at the end as
// for a wrong password. What a client sends is read as text of a bounded length; nothing of it is logged.

import { createHash, timingSafeEqual } from 'node:crypto';
import { ReasonCode } from '../mqtt/reason-code.ts';
import type { Random } from '../util/random.ts';
import type { AuthConversation, AuthMechanism, AuthStep } from './mechanism.ts';
import { hmac, KEY_BYTES, type ScramKeys } from './scram-keys.ts';
import type { Users } from './users.ts';

const NONCE_CHARACTERS = 24;
/** Longest message of a client. */
const MESSAGE_MAX = 4096;

const REFUSED: AuthStep = { kind: 'refused', reasonCode: ReasonCode.NOT_AUTHORIZED };
const GO_ON: AuthStep = { kind: 'continue', data: null };

export class ScramSha256 implements AuthMechanism {
  readonly name = 'SCRAM-SHA-256';
  readonly #users: Users;
  readonly #random: Random;

  constructor(users: Users, random: Random) {
    this.#users = users;
    this.#random = random;
  }

  begin(): AuthConversation {
    return new ScramConversation(this.#users, this.#random);
  }
}

/** What client-first-message says. */
interface First {
  /** GS2 header, which the client repeats in its last message. */
  header: string;
  /** The message without it. */
  bare: string;
  username: string;
  nonce: string;
}

class ScramConversation implements AuthConversation {
  readonly #users: Users;
  readonly #random: Random;
  #first: First | null = null;
  #keys: ScramKeys | null = null;
  #nonce = '';
  #serverFirst = '';

  constructor(users: Users, random: Random) {
    this.#users = users;
    this.#random = random;
  }

  async next(data: Buffer | null): Promise<AuthStep> {
    if (data !== null && data.length > MESSAGE_MAX) return REFUSED;
    const text = data === null ? '' : data.toString('utf8');
    if (this.#keys !== null) return this.#finish(text);
    // A client may ask to begin, and say who it is in its next packet.
    return text === '' ? GO_ON : this.#open(text);
  }

  #open(text: string): AuthStep {
    const first = readFirst(text);
    if (first === null) return REFUSED;
    this.#first = first;
    this.#keys = this.#users.keysOf(first.username);
    this.#nonce = first.nonce + this.#random.id(NONCE_CHARACTERS);
    const { salt, iterations } = this.#keys;
    this.#serverFirst = `r=${this.#nonce},s=${salt.toString('base64')},i=${iterations}`;
    return { kind: 'continue', data: Buffer.from(this.#serverFirst) };
  }

  #finish(text: string): AuthStep {
    const { header, bare, username } = this.#first as First;
    const keys = this.#keys as ScramKeys;
    const proofAt = text.lastIndexOf(',p=');
    const proof = Buffer.from(text.slice(proofAt + 3), 'base64');
    const withoutProof = text.slice(0, Math.max(0, proofAt));
    const [binding, nonce] = withoutProof.split(',');
    const isOfThis =
      proofAt > 0 &&
      binding === `c=${Buffer.from(header).toString('base64')}` &&
      nonce === `r=${this.#nonce}` &&
      proof.length === KEY_BYTES;
    if (!isOfThis) return REFUSED;
    const message = `${bare},${this.#serverFirst},${withoutProof}`;
    const clientKey = hmac(keys.storedKey, message);
    for (let index = 0; index < KEY_BYTES; index++) clientKey[index] ^= proof[index];
    const storedKey = createHash('sha256').update(clientKey).digest();
    if (!timingSafeEqual(storedKey, keys.storedKey) || !this.#users.has(username)) return REFUSED;
    const signature = hmac(keys.serverKey, message).toString('base64');
    return { kind: 'done', username, data: Buffer.from(`v=${signature}`) };
  }
}

/** null where it is none that we take: channel binding, extensions, another identity than the user's, no nonce. */
function readFirst(text: string): First | null {
  const parts = /^([ny],(?:a=([^,]*))?,)(n=([^,]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?)$/s.exec(text);
  if (parts === null) return null;
  const [, header, identity, bare, name, nonce] = parts as unknown as [
    string,
    string,
    string | undefined,
    string,
    string,
    string,
  ];
  const username = unescaped(name);
  if (username === null || (identity !== undefined && unescaped(identity) !== username)) return null;
  return { header, bare, username, nonce };
}

/** A name whose commas and equals signs are written =2C and =3D; null where another = stands in it. */
function unescaped(name: string): string | null {
  if (/=(?!2C|3D)/.test(name)) return null;
  return name.replaceAll('=2C', ',').replaceAll('=3D', '=');
}
