// The sixteen control packet types of MQTT and the fixed header flags that each of them may carry. The version of a
// connection is not known here: AUTH exists in MQTT 5 only, which the connection checks.

/** Protocol level as it stands in CONNECT: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. */
export type ProtocolVersion = 3 | 4 | 5;

export type QoS = 0 | 1 | 2;

/** The upper four bits of a packet's first byte. */
export const PacketType = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15,
} as const;

export type PacketTypeCode = (typeof PacketType)[keyof typeof PacketType];

/** Name of a packet type in lower case, as labels of metrics have it; index is the type code. */
export const PACKET_TYPE_NAMES: readonly string[] = [
  'reserved',
  ...Object.keys(PacketType).map((name) => name.toLowerCase()),
];

/**
 * One entry per possible first byte: 1 where type and flags may stand together. PUBLISH carries flags of its own;
 * PUBREL, SUBSCRIBE and UNSUBSCRIBE must have 2, all others 0 [MQTT-2.2.2-1], [MQTT5-2.1.3-1].
 */
export const VALID_FIRST_BYTE: Uint8Array = (() => {
  const table = new Uint8Array(256);
  for (const type of Object.values(PacketType)) {
    const flagged =
      type === PacketType.PUBREL || type === PacketType.SUBSCRIBE || type === PacketType.UNSUBSCRIBE;
    if (type === PacketType.PUBLISH) table.fill(1, type << 4, (type << 4) + 16);
    else table[(type << 4) | (flagged ? 2 : 0)] = 1;
  }
  return table;
})();
