// Chance for the whole process: the only file that asks the system for randomness. Everything else receives a Random,
// so that a test or a simulation run can be repeated from its seed.

import { randomBytes, randomInt } from 'node:crypto';

export interface Random {
  /** A whole number from 0 up to, not including, `limit` (at most 2^48 - 1). */
  below(limit: number): number;
  /** `characters` characters of [0-9a-z], unguessable for the system source. */
  id(characters: number): string;
}

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz';

export const systemRandom: Random = {
  below: (limit) => randomInt(limit),
  id(characters) {
    // 36 does not divide 256: bytes from 252 up are passed over, so that every character is as likely.
    let text = '';
    while (text.length < characters) {
      for (const byte of randomBytes(characters * 2)) {
        if (byte < 252 && text.length < characters) text += ALPHABET[byte % 36];
      }
    }
    return text;
  },
};

/** A repeatable source (mulberry32): the same seed gives the same sequence. Not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return {
    below: (limit) => Math.floor((next() / 4294967296) * limit),
    id(characters) {
      let text = '';
      while (text.length < characters) text += ALPHABET[next() % 36];
      return text;
    },
  };
}
