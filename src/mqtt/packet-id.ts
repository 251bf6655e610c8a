// Packet identifiers towards subscribers are a pure function of a message's place in its session's queue, so that any
// node resumes with the ids that the client already knows, without a write at delivery time [MQTT-4.4.0-1]. They do not
// collide as long as the window of unacknowledged sequence numbers is smaller than PACKET_IDS.

/** How many identifiers there are: 1 to 65,535; 0 is not one [MQTT-2.3.1-1]. */
export const PACKET_IDS = 65_535;

/** The packet identifier (1 to 65,535) of the message with sequence number `seq` (1 and up). */
export function packetIdOf(seq: number): number {
  return ((seq - 1) % PACKET_IDS) + 1;
}

/** The lowest sequence number at or above `head` whose packet identifier is `packetId` (1 to 65,535). */
export function seqOf(packetId: number, head: number): number {
  return head + ((packetId - packetIdOf(head) + PACKET_IDS) % PACKET_IDS);
}
