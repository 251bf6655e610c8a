// What one entry of the route log says, and its bytes. Four things are announced: a session's row of subscriptions, the
// end of a session's life, changes of a node's own routes, and the death of a node. Each payload begins with a version
// byte; an unknown one is an error with a code. Whether an entry still counts is for the table to judge, not for the codec.

import '../util/buffer-methods.ts';
import { SwarmqError } from '../util/errors.ts';

/** What a node wants of a filter: 'a' every message, '0' those of QoS 0, '' nothing any more. */
export type RouteFlags = 'a' | '0' | '';

export interface RouteChange {
  readonly filter: string;
  readonly flags: RouteFlags;
}

export type LogRecord =
  | { readonly kind: 'row'; readonly clientId: string /** records.encodeRow */; readonly row: Buffer }
  | { readonly kind: 'ended'; readonly clientId: string; readonly life: number }
  | { readonly kind: 'routes'; readonly incarnation: string; readonly changes: readonly RouteChange[] }
  | { readonly kind: 'node-dead'; readonly incarnation: string };

const VERSION = 1;
const KIND_ROW = 1;
const KIND_ENDED = 2;
const KIND_ROUTES = 3;
const KIND_NODE_DEAD = 4;
/** Version, kind, length of the name. */
const HEAD_BYTES = 4;

export function encodeLogRecord(change: LogRecord): Buffer {
  switch (change.kind) {
    case 'row': {
      const bytes = withName(KIND_ROW, change.clientId, change.row.length);
      change.row.copy(bytes, bytes.length - change.row.length);
      return bytes;
    }
    case 'ended': {
      const bytes = withName(KIND_ENDED, change.clientId, 8);
      bytes.writeDoubleBE(change.life, bytes.length - 8);
      return bytes;
    }
    case 'routes':
      return encodeRoutes(change.incarnation, change.changes);
    case 'node-dead':
      return withName(KIND_NODE_DEAD, change.incarnation, 0);
  }
}

/** Throws SWARMQ_ERR_RECORD_VERSION or _CORRUPT. A row is a slice of `bytes`. */
export function decodeLogRecord(bytes: Buffer): LogRecord {
  if (bytes.length < HEAD_BYTES) throw corrupt();
  if (bytes[0] !== VERSION) {
    throw new SwarmqError(
      'SWARMQ_ERR_RECORD_VERSION',
      `log entry has version ${bytes[0]}, known is ${VERSION}`,
    );
  }
  const end = HEAD_BYTES + bytes.readUInt16BE(2);
  if (end > bytes.length) throw corrupt();
  const name = bytes.utf8Slice(HEAD_BYTES, end);
  switch (bytes[1]) {
    case KIND_ROW:
      return { kind: 'row', clientId: name, row: bytes.subarray(end) };
    case KIND_ENDED:
      if (bytes.length !== end + 8) throw corrupt();
      return { kind: 'ended', clientId: name, life: bytes.readDoubleBE(end) };
    case KIND_ROUTES:
      return { kind: 'routes', incarnation: name, changes: decodeRoutes(bytes, end) };
    case KIND_NODE_DEAD:
      return { kind: 'node-dead', incarnation: name };
    default:
      throw new SwarmqError('SWARMQ_ERR_RECORD_VERSION', `log entry has the unknown kind ${bytes[1]}`);
  }
}

function withName(kind: number, name: string, extraBytes: number): Buffer {
  const nameBytes = Buffer.byteLength(name);
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + nameBytes + extraBytes);
  bytes[0] = VERSION;
  bytes[1] = kind;
  bytes.writeUInt16BE(nameBytes, 2);
  bytes.utf8Write(name, HEAD_BYTES);
  return bytes;
}

function encodeRoutes(incarnation: string, changes: readonly RouteChange[]): Buffer {
  let size = 0;
  for (const { filter } of changes) size += 3 + Buffer.byteLength(filter);
  const bytes = withName(KIND_ROUTES, incarnation, size);
  let at = bytes.length - size;
  for (const { filter, flags } of changes) {
    bytes[at] = flags === '' ? 0 : flags.charCodeAt(0);
    const length = bytes.utf8Write(filter, at + 3);
    bytes.writeUInt16BE(length, at + 1);
    at += 3 + length;
  }
  return bytes;
}

function decodeRoutes(bytes: Buffer, start: number): RouteChange[] {
  const changes: RouteChange[] = [];
  let at = start;
  while (at < bytes.length) {
    if (at + 3 > bytes.length) throw corrupt();
    const end = at + 3 + bytes.readUInt16BE(at + 1);
    if (end > bytes.length) throw corrupt();
    changes.push({ filter: bytes.utf8Slice(at + 3, end), flags: decodeFlags(bytes[at]!) });
    at = end;
  }
  return changes;
}

function decodeFlags(code: number): RouteFlags {
  if (code === 0) return '';
  if (code === 0x61) return 'a';
  if (code === 0x30) return '0';
  throw corrupt();
}

function corrupt(): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', 'log entry is cut short or misformed');
}
