// What reason codes mean, in words for the people who read a client's log: the reason strings of answers that refuse.
// They are for people only [MQTT5-2.2.2.2]; no program may depend on them.

import { ReasonCode } from './reason-code.ts';

const TEXTS: ReadonlyMap<number, string> = new Map([
  [ReasonCode.MALFORMED_PACKET, 'the packet cannot be read'],
  [ReasonCode.PROTOCOL_ERROR, 'the packet may not be sent here'],
  [ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 'MQTT 3.1, 3.1.1 and 5 are spoken here'],
  [ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 'the client id is not allowed here'],
  [ReasonCode.BAD_USER_NAME_OR_PASSWORD, 'no such user, or not their password'],
  [ReasonCode.NOT_AUTHORIZED, 'not allowed'],
  [ReasonCode.SERVER_UNAVAILABLE, 'the node cannot serve now: try again'],
  [ReasonCode.SERVER_BUSY, 'too many clients are connecting: try again'],
  [ReasonCode.SERVER_SHUTTING_DOWN, 'the node stops: connect to another one'],
  [ReasonCode.BAD_AUTHENTICATION_METHOD, 'this authentication method is not offered'],
  [ReasonCode.KEEP_ALIVE_TIMEOUT, 'nothing was heard for one and a half keep-alive times'],
  [ReasonCode.SESSION_TAKEN_OVER, 'a newer connection has the same client id'],
  [ReasonCode.TOPIC_FILTER_INVALID, 'not a topic filter, or longer or deeper than allowed'],
  [ReasonCode.TOPIC_NAME_INVALID, 'not a topic name, or longer or deeper than allowed'],
  [ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, 'more messages at once than Receive Maximum of CONNACK'],
  [ReasonCode.TOPIC_ALIAS_INVALID, 'this topic alias is not known'],
  [ReasonCode.PACKET_TOO_LARGE, 'larger than Maximum Packet Size'],
  [ReasonCode.QUOTA_EXCEEDED, 'a limit of the node, of a queue or of the retained messages is reached'],
  [ReasonCode.PAYLOAD_FORMAT_INVALID, 'the payload is not UTF-8 as its format indicator says'],
  [ReasonCode.USE_ANOTHER_SERVER, 'connect to the server of the reference'],
  [ReasonCode.SERVER_MOVED, 'connect to the server of the reference from now on'],
  [ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, 'shared subscriptions are not supported'],
]);

/** The reason string for a code of a refusal; empty where there is nothing to add to the code. */
export function reasonTextOf(reasonCode: number): string {
  return TEXTS.get(reasonCode) ?? '';
}
