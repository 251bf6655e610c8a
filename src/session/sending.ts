// How one message leaves to one client: the outbound PUBLISH of a body, with the receiver's QoS, flags, identifiers,
// what is left of the message's expiry, and the topic's alias where the client takes aliases; and how an ack leaves that
// may say why it refuses. Nothing is kept here.

import type { AckType } from '../mqtt/ack.ts';
import { encodeAnswer } from '../mqtt/answers.ts';
import { BodyView, type Outbound, publishSize } from '../mqtt/message.ts';
import { NO_EXPIRY } from '../mqtt/publish.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import type { TopicAliases } from '../mqtt/topic-aliases.ts';
import type { Link } from './link.ts';

const outbound: Outbound = {
  qos: 0,
  retain: false,
  dup: false,
  packetId: 0,
  subscriptionIds: null,
  expirySec: NO_EXPIRY,
  topicAlias: 0,
  isTopicOmitted: false,
};

const view = new BodyView();

/** What a receiver gets of a message. One object is filled again and again by its owner. */
export interface Sending {
  qos: 0 | 1 | 2;
  retain: boolean;
  dup: boolean;
  /** Not looked at for QoS 0. */
  packetId: number;
  subscriptionIds: readonly number[] | null;
  /** Store ms, 0 never; counted down to the client only if `ownExpiry`. */
  expiresAt: number;
  ownExpiry: boolean;
}

/** One to be filled: all have one shape, so that sendMessage stays fast. */
export const newSending = (qos: 0 | 1): Sending => ({
  qos,
  retain: false,
  dup: false,
  packetId: 0,
  subscriptionIds: null,
  expiresAt: 0,
  ownExpiry: false,
});

/**
 * Sends the body body[start, end); answers false, having sent nothing, where the packet is larger than the client takes:
 * it counts as delivered then [MQTT-3.1.2-25].
 */
export function sendMessage(
  link: Link,
  body: Buffer,
  sending: Sending,
  nowMs: number,
  start = 0,
  end = body.length,
): boolean {
  outbound.qos = sending.qos;
  outbound.retain = sending.retain;
  outbound.dup = sending.dup;
  outbound.packetId = sending.packetId;
  outbound.subscriptionIds = link.version === 5 ? sending.subscriptionIds : null;
  outbound.expirySec = sending.ownExpiry
    ? Math.max(1, Math.ceil((sending.expiresAt - nowMs) / 1000))
    : NO_EXPIRY;
  const { aliases } = link;
  // QoS 2 carries its topic: clients that keep the packet until PUBREL (MQTT.js) have lost the alias's meaning by then.
  if (aliases !== null && sending.qos !== 2) return sendWithAlias(link, aliases, body, start, end);
  outbound.topicAlias = 0;
  outbound.isTopicOmitted = false;
  return sendOutbound(link, body, start, end);
}

/** A topic that the client knows is left out; another one takes a number, if it may. */
function sendWithAlias(link: Link, aliases: TopicAliases, body: Buffer, start: number, end: number): boolean {
  const { topicStart, topicEnd } = view.read(body, start, end);
  const topic = body.latin1Slice(topicStart, topicEnd);
  const known = aliases.find(topic);
  const alias = known === 0 ? aliases.next(topicEnd - topicStart) : known;
  outbound.topicAlias = alias;
  outbound.isTopicOmitted = known !== 0;
  if (!sendOutbound(link, body, start, end)) return false;
  if (alias !== 0) aliases.use(topic, alias);
  return true;
}

function sendOutbound(link: Link, body: Buffer, start: number, end: number): boolean {
  if (
    link.maximumPacketBytes !== Number.POSITIVE_INFINITY &&
    publishSize(link.version, body, outbound, start, end) > link.maximumPacketBytes
  ) {
    return false;
  }
  link.sendPublish(body, outbound, start, end);
  return true;
}

/** Sends an ack with any reason code; one that refuses says why, where the client takes it. */
export function sendAnswer(link: Link, type: AckType, packetId: number, reasonCode: number): void {
  if (reasonCode < ReasonCode.UNSPECIFIED_ERROR || !link.wantsReasons)
    link.sendAck(type, packetId, reasonCode);
  else link.send(encodeAnswer(link, type, packetId, reasonCode));
}
