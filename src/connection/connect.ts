// What CONNECT and CONNACK say. CONNECT is read strictly (mqtt/connect-packet.ts), judged by the node's limits, and
// becomes the terms of the connection; what Aedes gets of it has no id, no will, no keep-alive and no credentials, a clean
// start and an endless session, so that its timers and wipes find nothing to do. The CONNACK that the client gets is
// made from the terms. No packet is kept: slices of it would hold the whole chunk it came in.

import { isUtf8 } from 'node:buffer';
import { type AnswerReader, answerFor, encodeConnack } from '../mqtt/answers.ts';
import { protocolError } from '../mqtt/bytes.ts';
import { type ControlPacket, generatePacket } from '../mqtt/codec.ts';
import { type ConnectParts, type ConnectWill, readConnect, readerOfBroken } from '../mqtt/connect-packet.ts';
import { findProperty, Property } from '../mqtt/properties.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import { reasonTextOf } from '../mqtt/reason-text.ts';
import { validateTopicName } from '../mqtt/topic.ts';
import { Limit, type NodeStats } from '../observability/node-stats.ts';
import type { ProtocolVersion } from '../session/link.ts';
import { NEVER_EXPIRES, type StoredWill } from '../store/store.ts';
import { SwarmqError } from '../util/errors.ts';
import type { Random } from '../util/random.ts';
import type { ConnectionLimits, ConnectionPolicy } from './ports.ts';

/** What client and node have agreed on, once CONNECT is read. */
export interface ConnectTerms {
  readonly version: ProtocolVersion;
  /** The client is a bridge: it gets retained flags as published, and nothing of its own back. */
  readonly isBridge: boolean;
  readonly clientId: string;
  /** The client named none [MQTT-3.1.3-6]. */
  readonly isAssigned: boolean;
  readonly cleanStart: boolean;
  /** 0 is none. */
  readonly keepAliveSec: number;
  /** It is not what the client asked for [MQTT5-3.1.2-21]. */
  readonly isKeepAliveImposed: boolean;
  readonly expirySec: number;
  /** It is less than what the client asked for. */
  readonly isExpiryClamped: boolean;
  readonly will: StoredWill | null;
  readonly receiveMaximum: number;
  /** Infinity when the client named none. */
  readonly maximumPacketBytes: number;
  /** Topic aliases that the client takes. */
  readonly topicAliasMaximum: number;
  readonly wantsResponseInformation: boolean;
  readonly wantsProblemInformation: boolean;
  readonly username: string | null;
  readonly password: Buffer | null;
  /** Method of enhanced authentication, and the data that came with it. */
  readonly authMethod: string | null;
  readonly authData: Buffer | null;
}

/** By what a CONNECT is judged. */
export interface ConnectRules {
  readonly limits: ConnectionLimits;
  readonly policy: ConnectionPolicy;
  readonly stats: NodeStats;
  readonly random: Random;
}

const ASSIGNED_PREFIX = 'auto-';
/** 36^20 possibilities: two nodes never assign the same. */
const ASSIGNED_RANDOM_CHARACTERS = 20;
const UINT16_MAX = 65_535;
/** MQTT's own limit of a packet: fixed header with four length bytes. */
const PACKET_BYTES_MAX = 268_435_460;

/** Faults that 3.1 and 3.1.1 have no return code for: the connection is closed without CONNACK. */
const UNTOLD_BEFORE_5: ReadonlySet<number> = new Set([
  ReasonCode.MALFORMED_PACKET,
  ReasonCode.PROTOCOL_ERROR,
  ReasonCode.TOPIC_NAME_INVALID,
  ReasonCode.PACKET_TOO_LARGE,
  ReasonCode.SESSION_TAKEN_OVER,
]);

/**
 * Reads the CONNECT whose variable header is buf[bodyStart, end) and judges it. Throws a SwarmqError whose reason code
 * is for CONNACK: what readConnect throws; 0x85 for a client id that is too long or, before MQTT 5, missing with a
 * session that is to be kept [MQTT-3.1.3-8]; 0x90 for a will topic beyond the limits; 0x99 for a will that is not the
 * text it is said to be, where that is asked for.
 */
function agreeOnTerms(
  buf: Buffer,
  bodyStart: number,
  end: number,
  { limits, policy, stats, random }: ConnectRules,
): ConnectTerms {
  const parts = readConnect(buf, bodyStart, end);
  const { version } = parts;
  checkClientId(parts, limits, stats);
  if (parts.will !== null) {
    checkWillTopic(parts.will.topic, limits, stats);
    if (policy.checkPayloadFormat) checkWillPayload(parts.will, stats);
  }
  const isAssigned = parts.clientId === '';
  const wantedExpirySec = version === 5 ? parts.sessionExpirySec : parts.cleanStart ? 0 : NEVER_EXPIRES;
  const expirySec = clampExpiry(wantedExpirySec, limits);
  const keepAliveSec = keepAliveOf(parts, limits);
  return {
    version,
    isBridge: parts.isBridge,
    clientId: isAssigned ? ASSIGNED_PREFIX + random.id(ASSIGNED_RANDOM_CHARACTERS) : parts.clientId,
    isAssigned,
    cleanStart: parts.cleanStart,
    keepAliveSec,
    isKeepAliveImposed: keepAliveSec !== parts.keepAliveSec,
    expirySec,
    isExpiryClamped: version === 5 && expirySec !== wantedExpirySec,
    will: parts.will === null ? null : storedWill(parts.will),
    receiveMaximum: parts.receiveMaximum,
    maximumPacketBytes: parts.maximumPacketBytes === 0 ? Number.POSITIVE_INFINITY : parts.maximumPacketBytes,
    topicAliasMaximum: parts.topicAliasMaximum,
    wantsResponseInformation: parts.wantsResponseInformation,
    wantsProblemInformation: parts.wantsProblemInformation,
    username: parts.username,
    password: parts.password,
    authMethod: parts.authenticationMethod,
    authData: parts.authenticationData,
  };
}

/** Seconds of session expiry that the node grants. */
export function clampExpiry(wantedSec: number, limits: ConnectionLimits): number {
  const mostSec = Math.floor(limits.maxSessionExpiryMs / 1000);
  return Math.min(wantedSec, mostSec);
}

function checkClientId(parts: ConnectParts, limits: ConnectionLimits, stats: NodeStats): void {
  const { version, clientId } = parts;
  if (clientId === '') {
    // [MQTT-3.1.3-7]: only a client without a session to keep may leave its name out; MQTT 3.1 demands one always.
    if (version === 5 || (version === 4 && parts.cleanStart)) return;
    throw protocolError('no client id [MQTT-3.1.3-8]', ReasonCode.CLIENT_IDENTIFIER_NOT_VALID);
  }
  if (Buffer.byteLength(clientId) <= limits.maxClientIdLengthBytes) return;
  stats.limitRejections[Limit.CLIENT_ID_LENGTH]++;
  throw protocolError('client id too long', ReasonCode.CLIENT_IDENTIFIER_NOT_VALID);
}

function checkWillTopic(topic: string, limits: ConnectionLimits, stats: NodeStats): void {
  const fault = validateTopicName(topic, {
    maxBytes: limits.maxTopicLengthBytes,
    maxLevels: limits.maxTopicLevels,
  });
  if (fault === null) return;
  if (fault === 'too-long') stats.limitRejections[Limit.TOPIC_LENGTH]++;
  if (fault === 'too-many-levels') stats.limitRejections[Limit.TOPIC_LEVELS]++;
  throw protocolError(`will topic: ${fault}`, ReasonCode.TOPIC_NAME_INVALID);
}

function checkWillPayload(will: ConnectWill, stats: NodeStats): void {
  const { props } = will;
  const at = findProperty(props, 0, props.length, Property.PAYLOAD_FORMAT_INDICATOR);
  if (at < 0 || props[at + 1] === 0 || isUtf8(will.payload)) return;
  stats.limitRejections[Limit.PAYLOAD_FORMAT]++;
  throw protocolError('the will is not UTF-8', ReasonCode.PAYLOAD_FORMAT_INVALID);
}

function keepAliveOf(parts: ConnectParts, limits: ConnectionLimits): number {
  const mostSec = Math.floor(limits.maxKeepAliveMs / 1000);
  // Only MQTT 5 clients can be told another value; the widest limit leaves "none" as it is.
  if (parts.version !== 5 || mostSec >= UINT16_MAX) return parts.keepAliveSec;
  return parts.keepAliveSec === 0 || parts.keepAliveSec > mostSec ? mostSec : parts.keepAliveSec;
}

function storedWill(will: ConnectWill): StoredWill {
  return { qos: will.qos, retain: will.retain, delaySec: will.delaySec, body: will.body };
}

function encodeShellConnect(version: ProtocolVersion): Buffer {
  return generatePacket(
    {
      cmd: 'connect',
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      protocolVersion: version,
      clientId: 'client',
      clean: true,
      keepalive: 0,
      properties: version === 5 ? { sessionExpiryInterval: NEVER_EXPIRES } : undefined,
    },
    version,
  );
}

/** The CONNECT that Aedes gets, the same for every client. */
export const SHELL_CONNECTS: Readonly<Record<ProtocolVersion, Buffer>> = {
  3: encodeShellConnect(3),
  4: encodeShellConnect(4),
  5: encodeShellConnect(5),
};

type ConnackProperties = Extract<ControlPacket, { cmd: 'connack' }>['properties'];

/** The CONNACK of a connection that is accepted [MQTT-3.2.2-1] to [MQTT-3.2.2-4]; `authData` ends its authentication. */
export function encodeAccepted(
  terms: ConnectTerms,
  isPresent: boolean,
  limits: ConnectionLimits,
  policy: ConnectionPolicy,
  authData: Buffer | null,
): Buffer {
  if (terms.version !== 5) return encodeConnack(terms.version, isPresent, ReasonCode.SUCCESS);
  const properties: ConnackProperties = {
    retainAvailable: true,
    wildcardSubscriptionAvailable: true,
    subscriptionIdentifiersAvailable: true,
    sharedSubscriptionAvailable: true,
  };
  if (terms.isExpiryClamped) properties.sessionExpiryInterval = terms.expirySec;
  if (terms.isAssigned) properties.assignedClientIdentifier = terms.clientId;
  if (terms.isKeepAliveImposed) properties.serverKeepAlive = terms.keepAliveSec;
  if (limits.receiveMaximum < UINT16_MAX) properties.receiveMaximum = limits.receiveMaximum;
  if (limits.topicAliasMaximum > 0) properties.topicAliasMaximum = limits.topicAliasMaximum;
  if (limits.maxPacketSizeBytes < PACKET_BYTES_MAX) properties.maximumPacketSize = limits.maxPacketSizeBytes;
  if (terms.authMethod !== null) properties.authenticationMethod = terms.authMethod;
  if (authData !== null) properties.authenticationData = authData;
  if (terms.wantsResponseInformation && policy.responseInformation !== undefined) {
    properties.responseInformation = policy.responseInformation;
  }
  return generatePacket(
    { cmd: 'connack', reasonCode: ReasonCode.SUCCESS, sessionPresent: isPresent, properties },
    5,
  );
}

/** Reason codes that CONNACK cannot have, and what it says instead [MQTT5-3.2.2-7]. */
const NOT_IN_CONNACK: ReadonlyMap<number, number> = new Map([
  // A claim that a later one overtook.
  [ReasonCode.SESSION_TAKEN_OVER, ReasonCode.UNSPECIFIED_ERROR],
  [ReasonCode.SERVER_SHUTTING_DOWN, ReasonCode.SERVER_UNAVAILABLE],
]);

/**
 * The CONNACK of a refusal, or null where the client's version has no word for it, or it takes no packet so large. What
 * it says in words is `detail`, or else the text of the code.
 */
export function encodeRefused(
  reader: AnswerReader,
  reasonCode: number,
  serverReference: string | undefined,
  detail: string = reasonTextOf(reasonCode),
): Buffer | null {
  const { version, maximumPacketBytes } = reader;
  if (version !== 5 && UNTOLD_BEFORE_5.has(reasonCode)) return null;
  const code = NOT_IN_CONNACK.get(reasonCode) ?? reasonCode;
  const answer = answerFor(reader, code, serverReference, detail);
  const whole = encodeConnack(version, false, code, answer);
  if (whole.length <= maximumPacketBytes) return whole;
  const bare = encodeConnack(version, false, code);
  return bare.length <= maximumPacketBytes ? bare : null;
}

/** A CONNECT as far as it can be judged without asking anybody: it has terms, or a reason for being refused, or both. */
export interface ConnectVerdict {
  /** null where it could not be read, or not be agreed on. */
  readonly terms: ConnectTerms | null;
  readonly reader: AnswerReader;
  /** 0 where nothing speaks against it so far. */
  readonly reasonCode: number;
  /** What is wrong with it, where that says more than the code. */
  readonly detail?: string | undefined;
}

/** Codes whose texts do not tell a client what to mend. */
const NEEDS_DETAIL: ReadonlySet<number> = new Set([ReasonCode.MALFORMED_PACKET, ReasonCode.PROTOCOL_ERROR]);

/** Judges the CONNECT whose variable header is buf[bodyStart, end). Throws a SwarmqError for what has no answer. */
export function judgeConnect(
  buf: Buffer,
  bodyStart: number,
  end: number,
  rules: ConnectRules,
): ConnectVerdict {
  let terms: ConnectTerms;
  try {
    terms = agreeOnTerms(buf, bodyStart, end, rules);
  } catch (error) {
    const reader = readerOfBroken(buf, bodyStart, end);
    if (reader === null || !(error instanceof SwarmqError)) throw error;
    const reasonCode = error.reasonCode ?? ReasonCode.UNSPECIFIED_ERROR;
    const detail = NEEDS_DETAIL.has(reasonCode) ? error.message : undefined;
    return { terms: null, reader, reasonCode, detail };
  }
  const { version, maximumPacketBytes } = terms;
  const reader = {
    version,
    maximumPacketBytes,
    wantsReasons: version === 5 && terms.wantsProblemInformation,
  };
  const { redirect } = rules.policy;
  const reasonCode =
    redirect === 'off'
      ? ReasonCode.SUCCESS
      : redirect === 'permanent'
        ? ReasonCode.SERVER_MOVED
        : ReasonCode.USE_ANOTHER_SERVER;
  return { terms, reader, reasonCode };
}
