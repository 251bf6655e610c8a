// Packet identifiers towards subscribers are a pure function of a message's place in its session's queue, so that any
// node resumes with the ids that the client already knows, without a write at delivery time [MQTT-4.4.0-1]. They do not
// collide as long as the window of unacknowledged sequence numbers is smaller than PACKET_IDS.

/** How many identifiers there are: 1 to 65,535; 0 is not one [MQTT-2.3.1-1]. */
export const PACKET_IDS = 65_535;

/** A run of identifiers that one window uses in turn. */
export interface PacketIdRange {
  readonly first: number;
  readonly count: number;
}

export const ALL_IDS: PacketIdRange = { first: 1, count: PACKET_IDS };
/** Of a session that ends with its connection: what is delivered live, and what comes by the queue of shared messages. */
export const LIVE_IDS: PacketIdRange = { first: 1, count: 32_767 };
export const GROUP_IDS: PacketIdRange = { first: 32_768, count: 32_767 };

/** The packet identifier of the message with sequence number `seq` (1 and up). */
export function packetIdOf(seq: number, { first, count }: PacketIdRange = ALL_IDS): number {
  return ((seq - 1) % count) + first;
}

/** The lowest sequence number at or above `head` whose packet identifier is `packetId`, one of the range. */
export function seqOf(packetId: number, head: number, range: PacketIdRange = ALL_IDS): number {
  return head + ((packetId - packetIdOf(head, range) + range.count) % range.count);
}
