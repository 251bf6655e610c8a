// Writes PROXY protocol headers of version 2 for tests, wrong ones too.

import { isIPv4 } from 'node:net';

export interface ProxyV2Parts {
  /** 0 LOCAL, 1 PROXY (by default). */
  command?: number;
  /** Address family and protocol; by default after the source address. */
  family?: number;
  source?: string;
  destination?: string;
  sourcePort?: number;
  destinationPort?: number;
  tlvs?: Buffer[];
  /** In place of addresses, ports and extensions. */
  body?: Buffer;
}

/** One extension. */
export function tlv(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.of(type, value.length >> 8, value.length & 255), value]);
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const [head, tail] = address.split('::');
  const groups = (text: string | undefined) => (text ? text.split(':') : []);
  const missing = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array.from({ length: missing }, () => '0'), ...groups(tail)];
  return Buffer.concat(all.map((group) => Buffer.from(group.padStart(4, '0'), 'hex')));
}

export function proxyV2(parts: ProxyV2Parts): Buffer {
  const { source = '192.0.2.1', destination = '10.0.0.1', sourcePort = 1, destinationPort = 2 } = parts;
  const ports = Buffer.of(sourcePort >> 8, sourcePort & 255, destinationPort >> 8, destinationPort & 255);
  const body =
    parts.body ??
    Buffer.concat([addressBytes(source), addressBytes(destination), ports, ...(parts.tlvs ?? [])]);
  const family = parts.family ?? (isIPv4(source) ? 0x11 : 0x21);
  const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
  return Buffer.concat([
    signature,
    Buffer.of(0x20 | (parts.command ?? 1), family, body.length >> 8, body.length & 255),
    body,
  ]);
}
