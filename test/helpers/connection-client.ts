// A client of one connection in memory, packet by packet: what it sends as bytes, what it got back, and a bench with a
// connection that has its CONNACK.

import type { Test } from 'tap';
import { type ControlPacket, generatePacket, parsePacket } from '../../src/mqtt/codec.ts';
import { Framer } from '../../src/mqtt/framer.ts';
import type { ProtocolVersion } from '../../src/session/link.ts';
import { type Bench, type MemoryStream, openBench } from './connection-fakes.ts';
import { eventually } from './eventually.ts';

/** Packets as bytes, one after the other. */
export function bytesOf(version: ProtocolVersion, ...packets: ControlPacket[]): Buffer {
  return Buffer.concat(packets.map((packet) => generatePacket(packet, version)));
}

/** CONNECT of the client c1. */
export function connect(version: ProtocolVersion, more: object = {}): ControlPacket {
  const protocolId = version === 3 ? 'MQIsdp' : 'MQTT';
  return {
    cmd: 'connect',
    protocolId,
    protocolVersion: version,
    clientId: 'c1',
    clean: true,
    keepalive: 0,
    ...more,
  } as ControlPacket;
}

/** At QoS 1. */
export const subscribe = (messageId: number, ...filters: string[]): ControlPacket => ({
  cmd: 'subscribe',
  messageId,
  subscriptions: filters.map((topic) => ({ topic, qos: 1 })),
});
export const unsubscribe = (messageId: number, ...filters: string[]): ControlPacket => ({
  cmd: 'unsubscribe',
  messageId,
  unsubscriptions: filters,
});

/** What the client got, packet by packet. */
export function answers(version: ProtocolVersion, stream: MemoryStream): ControlPacket[] {
  const packets: ControlPacket[] = [];
  const framer = new Framer(
    {
      onPacket: (buf, start, _bodyStart, end) =>
        void packets.push(parsePacket(version, buf.subarray(start, end))),
    },
    1_000_000,
  );
  framer.push(stream.output);
  return packets;
}

/** A bench, closed at teardown. */
export async function bench(test: Test, ...options: Parameters<typeof openBench>): Promise<Bench> {
  const made = await openBench(...options);
  test.teardown(() => made.close());
  return made;
}

/** A connection that has its CONNACK. */
export async function established(
  made: Bench,
  version: ProtocolVersion,
  more: object = {},
): Promise<MemoryStream> {
  const stream = made.connect();
  stream.feed(bytesOf(version, connect(version, more)));
  await eventually('CONNACK', () => stream.writes.length > 0);
  return stream;
}
