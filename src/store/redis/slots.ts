// Slots of a Redis Cluster: which slot a hash tag has, and how CLUSTER SLOTS is read. Pure.

import { asList, asNumber, asText, type Reply } from './resp.ts';

export const SLOTS = 16_384;

/** CRC16 (XMODEM) of a hash tag, modulo the slots. ASCII only, which our tags are. */
export function slotOf(tag: string): number {
  let crc = 0;
  for (let index = 0; index < tag.length; index++) {
    crc ^= tag.charCodeAt(index) << 8;
    for (let bit = 0; bit < 8; bit++)
      crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc % SLOTS;
}

export interface SlotRange {
  readonly from: number;
  readonly to: number;
  readonly host: string;
  readonly port: number;
}

/** Masters and their slots. `askedHost` stands in where the server does not name its own host. */
export function readClusterSlots(reply: Reply, askedHost: string): SlotRange[] {
  const ranges: SlotRange[] = [];
  for (const range of asList(reply)) {
    const [from, to, master] = asList(range);
    const [host, port] = asList(master);
    const named = asText(host);
    ranges.push({
      from: asNumber(from),
      to: asNumber(to),
      host: named === '' || named === '?' ? askedHost : named,
      port: asNumber(port),
    });
  }
  return ranges;
}
