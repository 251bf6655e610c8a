// What DISCONNECT says, both ways: what a client's decides about the session it leaves (whether the will is dropped, how
// long the session lives on), and which reason ours gives for an error. Nothing happens here.

import { type AnswerReader, answerFor, encodeDisconnect } from '../mqtt/answers.ts';
import { protocolError } from '../mqtt/bytes.ts';
import { parseClientPacket } from '../mqtt/codec.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import type { ProtocolVersion } from '../session/link.ts';
import { SwarmqError } from '../util/errors.ts';
import { clampExpiry } from './connect.ts';
import type { ConnectionLimits, Leave } from './ports.ts';

/**
 * Reads the DISCONNECT `bytes` of a client whose session has the given expiry. Throws SWARMQ_ERR_PACKET_MALFORMED or
 * SWARMQ_ERR_PACKET_PROTOCOL, also for an expiry raised from 0 [MQTT5-3.14.2-2].
 */
export function readDisconnect(
  version: ProtocolVersion,
  bytes: Buffer,
  expirySec: number,
  limits: ConnectionLimits,
): Leave {
  const packet = parseClientPacket(version, bytes);
  if (packet.cmd !== 'disconnect') throw protocolError(`${packet.cmd} instead of DISCONNECT`);
  const wantedSec = packet.properties?.sessionExpiryInterval ?? expirySec;
  if (expirySec === 0 && wantedSec !== 0)
    throw protocolError('session expiry raised from 0 [MQTT5-3.14.2-2]');
  return {
    dropWill: packet.reasonCode !== ReasonCode.DISCONNECT_WITH_WILL,
    expirySec: clampExpiry(wantedSec, limits),
  };
}

/** What the client says by a DISCONNECT that has come and waits behind other packets; null where there is none. */
export function readHeld(
  held: () => Buffer | null,
  version: ProtocolVersion,
  expirySec: number,
  limits: ConnectionLimits,
): Leave | null {
  try {
    const bytes = held();
    return bytes === null ? null : readDisconnect(version, bytes, expirySec, limits);
  } catch (error) {
    // What cannot be read says nothing.
    if (!(error instanceof SwarmqError)) throw error;
    return null;
  }
}

/** The reason code that DISCONNECT gives for an error. */
export function closeReasonOf(error: SwarmqError): number {
  if (error.code === 'SWARMQ_ERR_SESSION_FENCED') return ReasonCode.SESSION_TAKEN_OVER;
  if (error.code === 'SWARMQ_ERR_STORE_CLOSED') return ReasonCode.SERVER_SHUTTING_DOWN;
  return error.reasonCode ?? ReasonCode.UNSPECIFIED_ERROR;
}

/** What a client is told of an error in words: what it sent is its own affair, what went wrong here is not. */
export function closeTextOf(error: SwarmqError): string | undefined {
  return error.code.startsWith('SWARMQ_ERR_PACKET_') ? error.message : undefined;
}

/** The DISCONNECT for a reason, or null where the client takes no packet so large [MQTT-3.1.2-24]. */
export function disconnectFor(
  reader: AnswerReader,
  reasonCode: number,
  serverReference: string | undefined,
  detail: string | undefined,
): Buffer | null {
  const whole = encodeDisconnect(reasonCode, answerFor(reader, reasonCode, serverReference, detail));
  if (whole.length <= reader.maximumPacketBytes) return whole;
  const bare = encodeDisconnect(reasonCode);
  return bare.length <= reader.maximumPacketBytes ? bare : null;
}
