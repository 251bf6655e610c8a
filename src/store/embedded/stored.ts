// How the embedded store's records lie in the journal: one key per record, a letter for its kind, then what names it.
// Parts of a name that may hold anything stand last, or behind their length. Values are a version byte and JSON, with
// raw bytes behind it where a record has a body; queue entries and rows are values of records.ts already.

import { SwarmqError } from '../../util/errors.ts';

/** Version of the whole layout, kept under FORMAT_KEY; another one is refused at start. */
export const FORMAT_VERSION = 1;
export const FORMAT_KEY = 'v';
export const STAMPS_KEY = 'u';

const RECORD_VERSION = 1;

export const KIND = {
  session: 's',
  row: 'o',
  reading: 'g',
  will: 'l',
  entry: 'q',
  /** What an ended life of a session left: its entries keep their keys. */
  orphans: 'a',
  /** Who gets an entry of those. */
  orphanTurn: 'b',
  inbound: 'i',
  noted: 'n',
  mark: 'k',
  retained: 't',
  payload: 'p',
  payloadDone: 'd',
  takenWill: 'x',
  route: 'r',
  lease: 'e',
} as const;

export const keyOf = (kind: string, name: string): string => kind + name;
/** Key of a record that is named by a number (or two) and a name. */
export const numberedKey = (kind: string, number: number | string, name: string): string =>
  `${kind}${number}:${name}`;
/** Key of a record that is named by two names. */
export const pairKey = (kind: string, first: string, second: string): string =>
  `${kind}${first.length}:${first}${second}`;
export const entryKey = (life: number, seq: number, clientId: string): string =>
  `${KIND.entry}${life}:${seq}:${clientId}`;
export const orphanTurnKey = (life: number, seq: number, clientId: string): string =>
  `${KIND.orphanTurn}${life}:${seq}:${clientId}`;

/** Takes the key of `numberedKey` apart. */
export function splitNumbered(key: string): { number: string; name: string } {
  const colon = key.indexOf(':');
  return { number: key.slice(1, colon), name: key.slice(colon + 1) };
}

/** Takes the key of `pairKey` apart. */
export function splitPair(key: string): { first: string; second: string } {
  const colon = key.indexOf(':');
  const end = colon + 1 + Number(key.slice(1, colon));
  return { first: key.slice(colon + 1, end), second: key.slice(end) };
}

/** Takes the key of `entryKey` apart. */
export function splitEntry(key: string): { life: number; seq: number; clientId: string } {
  const colon = key.indexOf(':');
  const second = key.indexOf(':', colon + 1);
  return {
    life: Number(key.slice(1, colon)),
    seq: Number(key.slice(colon + 1, second)),
    clientId: key.slice(second + 1),
  };
}

const NO_BODY = Buffer.alloc(0);

/** Version byte, length of the JSON (u32), JSON, body. */
export function encodeStored(fields: unknown, body: Buffer = NO_BODY): Buffer {
  const text = JSON.stringify(fields);
  const textBytes = Buffer.byteLength(text);
  const bytes = Buffer.allocUnsafe(5 + textBytes + body.length);
  bytes[0] = RECORD_VERSION;
  bytes.writeUInt32BE(textBytes, 1);
  bytes.utf8Write(text, 5);
  body.copy(bytes, 5 + textBytes);
  return bytes;
}

/** Throws SWARMQ_ERR_RECORD_VERSION for another version and SWARMQ_ERR_RECORD_CORRUPT for what cannot be read. */
export function decodeStored<T>(key: string, bytes: Buffer): { fields: T; body: Buffer } {
  if (bytes.length < 5)
    throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', `record ${label(key)} is cut short`);
  if (bytes[0] !== RECORD_VERSION) {
    const detail = `record ${label(key)} has version ${bytes[0]}, known is ${RECORD_VERSION}`;
    throw new SwarmqError('SWARMQ_ERR_RECORD_VERSION', detail);
  }
  const end = 5 + bytes.readUInt32BE(1);
  try {
    return { fields: JSON.parse(bytes.utf8Slice(5, end)) as T, body: bytes.subarray(end) };
  } catch (cause) {
    throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', `record ${label(key)}`, { cause });
  }
}

const label = (key: string): string => JSON.stringify(key.slice(0, 60));
