// Reason codes of MQTT 5 and their older relatives, the CONNACK return codes of 3.1 and 3.1.1. A name that the
// standard gives to several values of one number (0x00) has each of its names here.

export const ReasonCode = {
  SUCCESS: 0x00,
  NORMAL_DISCONNECTION: 0x00,
  GRANTED_QOS_0: 0x00,
  GRANTED_QOS_1: 0x01,
  GRANTED_QOS_2: 0x02,
  DISCONNECT_WITH_WILL: 0x04,
  NO_MATCHING_SUBSCRIBERS: 0x10,
  NO_SUBSCRIPTION_EXISTED: 0x11,
  CONTINUE_AUTHENTICATION: 0x18,
  REAUTHENTICATE: 0x19,
  UNSPECIFIED_ERROR: 0x80,
  MALFORMED_PACKET: 0x81,
  PROTOCOL_ERROR: 0x82,
  IMPLEMENTATION_SPECIFIC_ERROR: 0x83,
  UNSUPPORTED_PROTOCOL_VERSION: 0x84,
  CLIENT_IDENTIFIER_NOT_VALID: 0x85,
  BAD_USER_NAME_OR_PASSWORD: 0x86,
  NOT_AUTHORIZED: 0x87,
  SERVER_UNAVAILABLE: 0x88,
  SERVER_BUSY: 0x89,
  BANNED: 0x8a,
  SERVER_SHUTTING_DOWN: 0x8b,
  BAD_AUTHENTICATION_METHOD: 0x8c,
  KEEP_ALIVE_TIMEOUT: 0x8d,
  SESSION_TAKEN_OVER: 0x8e,
  TOPIC_FILTER_INVALID: 0x8f,
  TOPIC_NAME_INVALID: 0x90,
  PACKET_IDENTIFIER_IN_USE: 0x91,
  PACKET_IDENTIFIER_NOT_FOUND: 0x92,
  RECEIVE_MAXIMUM_EXCEEDED: 0x93,
  TOPIC_ALIAS_INVALID: 0x94,
  PACKET_TOO_LARGE: 0x95,
  MESSAGE_RATE_TOO_HIGH: 0x96,
  QUOTA_EXCEEDED: 0x97,
  ADMINISTRATIVE_ACTION: 0x98,
  PAYLOAD_FORMAT_INVALID: 0x99,
  RETAIN_NOT_SUPPORTED: 0x9a,
  QOS_NOT_SUPPORTED: 0x9b,
  USE_ANOTHER_SERVER: 0x9c,
  SERVER_MOVED: 0x9d,
  SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: 0x9e,
  CONNECTION_RATE_EXCEEDED: 0x9f,
  MAXIMUM_CONNECT_TIME: 0xa0,
  SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: 0xa1,
  WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: 0xa2,
} as const;

export type ReasonCodeName = keyof typeof ReasonCode;

/** CONNACK return codes of MQTT 3.1 and 3.1.1. */
export const ConnackReturnCode = {
  ACCEPTED: 0,
  UNACCEPTABLE_PROTOCOL_VERSION: 1,
  IDENTIFIER_REJECTED: 2,
  SERVER_UNAVAILABLE: 3,
  BAD_USER_NAME_OR_PASSWORD: 4,
  NOT_AUTHORIZED: 5,
} as const;

/**
 * The CONNACK return code that tells a client of MQTT 3.1 or 3.1.1 most nearly what the MQTT 5 reason code tells.
 * Faults that have no code of their own there are "server unavailable", which clients take as "try again later".
 */
export function connackReturnCodeOf(reasonCode: number): number {
  switch (reasonCode) {
    case ReasonCode.SUCCESS:
      return ConnackReturnCode.ACCEPTED;
    case ReasonCode.UNSUPPORTED_PROTOCOL_VERSION:
      return ConnackReturnCode.UNACCEPTABLE_PROTOCOL_VERSION;
    case ReasonCode.CLIENT_IDENTIFIER_NOT_VALID:
      return ConnackReturnCode.IDENTIFIER_REJECTED;
    case ReasonCode.BAD_USER_NAME_OR_PASSWORD:
      return ConnackReturnCode.BAD_USER_NAME_OR_PASSWORD;
    case ReasonCode.NOT_AUTHORIZED:
    case ReasonCode.BANNED:
    case ReasonCode.BAD_AUTHENTICATION_METHOD:
      return ConnackReturnCode.NOT_AUTHORIZED;
    default:
      return ConnackReturnCode.SERVER_UNAVAILABLE;
  }
}

/** The MQTT 5 reason code for a CONNACK return code of 3.1 or 3.1.1. */
export function reasonCodeOfReturnCode(returnCode: number): number {
  switch (returnCode) {
    case ConnackReturnCode.ACCEPTED:
      return ReasonCode.SUCCESS;
    case ConnackReturnCode.UNACCEPTABLE_PROTOCOL_VERSION:
      return ReasonCode.UNSUPPORTED_PROTOCOL_VERSION;
    case ConnackReturnCode.IDENTIFIER_REJECTED:
      return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID;
    case ConnackReturnCode.SERVER_UNAVAILABLE:
      return ReasonCode.SERVER_UNAVAILABLE;
    case ConnackReturnCode.BAD_USER_NAME_OR_PASSWORD:
      return ReasonCode.BAD_USER_NAME_OR_PASSWORD;
    case ConnackReturnCode.NOT_AUTHORIZED:
      return ReasonCode.NOT_AUTHORIZED;
    default:
      return ReasonCode.UNSPECIFIED_ERROR;
  }
}

/** True where a reason code means failure (0x80 and above). */
export function isFailure(reasonCode: number): boolean {
  return reasonCode >= ReasonCode.UNSPECIFIED_ERROR;
}
