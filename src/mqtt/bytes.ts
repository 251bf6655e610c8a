// The byte-level pieces that all packet code shares: variable byte integers, text checks, and the two errors
// for broken packets. Offsets are never checked here unless a function says so: callers know their bounds.

import { isUtf8 } from 'node:buffer';
import { SwarmqError } from '../util/errors.ts';
import { ReasonCode } from './reason-code.ts';

/** Bytes of a variable byte integer in its shortest form (1 to 4). */
export function varintSize(value: number): number {
  return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : 4;
}

/** Writes a variable byte integer (up to 268,435,455) at `at`; answers the offset behind it. */
export function writeVarint(target: Buffer, at: number, value: number): number {
  let rest = value;
  let to = at;
  while (rest > 127) {
    target[to++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  target[to++] = rest;
  return to;
}

/**
 * Reads the variable byte integer at `at`, which must end before `end`. Answers -1 where it is cut off, has a fifth
 * byte, or is not in its shortest form [MQTT5-1.5.5-1]; so its size is always varintSize of the value.
 */
export function readVarint(buf: Buffer, at: number, end: number): number {
  if (at >= end) return -1;
  const first = buf[at];
  if (first < 128) return first;
  let value = first & 127;
  for (let count = 1; count < 4; count++) {
    if (at + count >= end) return -1;
    const byte = buf[at + count];
    value |= (byte & 127) << (7 * count);
    if (byte < 128) return byte === 0 ? -1 : value;
  }
  return -1;
}

/** Writes a two byte integer; answers the offset behind it. */
export function writeUint16(target: Buffer, at: number, value: number): number {
  target[at] = value >>> 8;
  target[at + 1] = value & 255;
  return at + 2;
}

/** Reads the two byte integer at `at`. */
export function readUint16(buf: Buffer, at: number): number {
  return (buf[at] << 8) | buf[at + 1];
}

/** True where `buf[start, end)` is well-formed UTF-8 without U+0000 [MQTT-1.5.3-1], [MQTT-1.5.3-2]. */
export function isText(buf: Buffer, start: number, end: number): boolean {
  let isAscii = true;
  for (let at = start; at < end; at++) {
    const byte = buf[at];
    if (byte === 0) return false;
    if (byte > 127) isAscii = false;
  }
  return isAscii || isUtf8(buf.subarray(start, end));
}

/** A packet that cannot be read: SWARMQ_ERR_PACKET_MALFORMED, MQTT 5 reason 0x81. */
export function malformed(detail: string): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_PACKET_MALFORMED', detail, {
    reasonCode: ReasonCode.MALFORMED_PACKET,
  });
}

/** A packet that can be read and may not be sent: SWARMQ_ERR_PACKET_PROTOCOL, reason 0x82 unless given. */
export function protocolError(detail: string, reasonCode: number = ReasonCode.PROTOCOL_ERROR): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_PACKET_PROTOCOL', detail, { reasonCode });
}
