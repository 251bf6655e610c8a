// Reads the header of the PROXY protocol, version 1 (a line of text) and 2 (binary), that a load balancer puts in front
// of a connection to tell whose it is. Only bytes here: whom to believe is the listener's decision. Bounded by 107
// bytes, or by 16 and the length in the header; a byte that cannot belong to a header ends it at once, so that a client
// without a header is not waited for. Invariant: the result does not depend on how the bytes are split.

import { isIPv4, isIPv6 } from 'node:net';
import { SwarmqError } from '../util/errors.ts';

export type ProxyVersions = 'v1' | 'v2' | 'any';

/** What the proxy knows of the TLS that it ended. */
export interface ProxyTls {
  /** A certificate was given and verified. */
  authorized: boolean;
  commonName: string | null;
  protocol: string | null;
}

export interface ProxyHeader {
  /** False: the proxy speaks for itself (LOCAL, a health check) or knows no addresses: the socket's own are right. */
  isProxied: boolean;
  sourceAddress: string;
  sourcePort: number;
  destinationPort: number;
  /** Null where the client came to the proxy without TLS, or nothing was said. */
  tls: ProxyTls | null;
}

const SIGNATURE_V2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const SIGNATURE_V1 = Buffer.from('PROXY ', 'latin1');
const V1_MAX_BYTES = 107;
const V2_HEAD_BYTES = 16;
const LINE_END = Buffer.from('\r\n', 'latin1');

const TLV_CRC32C = 0x03;
const TLV_TLS = 0x20;
const TLV_TLS_VERSION = 0x21;
const TLV_TLS_COMMON_NAME = 0x22;
const CLIENT_TLS = 1;
const CLIENT_CERT_CONN = 2;
const CLIENT_CERT_SESSION = 4;

const UNKNOWN: ProxyHeader = {
  isProxied: false,
  sourceAddress: '',
  sourcePort: 0,
  destinationPort: 0,
  tls: null,
};

export class ProxyHeaderReader {
  readonly #versions: ProxyVersions;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(versions: ProxyVersions) {
    this.#versions = versions;
  }

  /**
   * Takes the next bytes. Null: the header is not complete. Else the header, and `rest`, the bytes behind it. Throws
   * SWARMQ_ERR_PROXY_HEADER for what is no header of an allowed version.
   */
  push(chunk: Buffer): { header: ProxyHeader; rest: Buffer } | null {
    // Headers are small and come in one piece; the few splits there are may cost a copy.
    const bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    this.#bytes = bytes;
    if (bytes.length === 0) return null;
    if (this.#versions !== 'v1' && isPrefix(SIGNATURE_V2, bytes)) return this.#readV2(bytes);
    if (this.#versions !== 'v2' && isPrefix(SIGNATURE_V1, bytes)) return this.#readV1(bytes);
    throw refused('the connection does not begin with one');
  }

  #readV1(bytes: Buffer): { header: ProxyHeader; rest: Buffer } | null {
    const end = bytes.indexOf(LINE_END);
    if (end < 0 || end + 2 > V1_MAX_BYTES) {
      if (bytes.length >= V1_MAX_BYTES) throw refused('a line of more than 107 bytes');
      return null;
    }
    return { header: parseV1(bytes.toString('latin1', 0, end)), rest: bytes.subarray(end + 2) };
  }

  #readV2(bytes: Buffer): { header: ProxyHeader; rest: Buffer } | null {
    if (bytes.length > 12 && bytes[12] !== 0x20 && bytes[12] !== 0x21) {
      throw refused(`version and command 0x${bytes[12].toString(16)}`);
    }
    if (bytes.length < V2_HEAD_BYTES) return null;
    const end = V2_HEAD_BYTES + bytes.readUInt16BE(14);
    if (bytes.length < end) return null;
    return { header: parseV2(bytes.subarray(0, end)), rest: bytes.subarray(end) };
  }
}

/** True while the bytes that are there agree with the signature. */
function isPrefix(signature: Buffer, bytes: Buffer): boolean {
  const length = Math.min(signature.length, bytes.length);
  return signature.compare(bytes, 0, length, 0, length) === 0;
}

function parseV1(line: string): ProxyHeader {
  const fields = line.split(' ');
  // Whatever follows UNKNOWN is to be passed over.
  if (fields[1] === 'UNKNOWN') return UNKNOWN;
  const isAddress = fields[1] === 'TCP4' ? isIPv4 : fields[1] === 'TCP6' ? isIPv6 : () => false;
  if (fields.length !== 6 || !isAddress(fields[2]) || !isAddress(fields[3]))
    throw refused('a malformed line');
  return {
    isProxied: true,
    sourceAddress: fields[2],
    sourcePort: portOf(fields[4]),
    destinationPort: portOf(fields[5]),
    tls: null,
  };
}

function portOf(text: string): number {
  const port = /^(0|[1-9]\d{0,4})$/.test(text) ? Number(text) : -1;
  if (port < 0 || port > 65_535) throw refused('a malformed port');
  return port;
}

function parseV2(bytes: Buffer): ProxyHeader {
  // LOCAL: the rest of the header is to be passed over.
  if (bytes[12] === 0x20) return UNKNOWN;
  const isInet4 = bytes[13] === 0x11;
  const isInet6 = bytes[13] === 0x21;
  if (!isInet4 && !isInet6) return UNKNOWN;
  const addressBytes = isInet4 ? 4 : 16;
  const ports = V2_HEAD_BYTES + 2 * addressBytes;
  if (bytes.length < ports + 4) throw refused('addresses cut off');
  const tlvs = ports + 4;
  return {
    isProxied: true,
    sourceAddress: isInet4
      ? bytes.subarray(V2_HEAD_BYTES, V2_HEAD_BYTES + 4).join('.')
      : inet6Text(bytes.subarray(V2_HEAD_BYTES, V2_HEAD_BYTES + 16)),
    sourcePort: bytes.readUInt16BE(ports),
    destinationPort: bytes.readUInt16BE(ports + 2),
    tls: readTlvs(bytes, tlvs),
  };
}

/** Sixteen bytes as an address: longest run of zero groups shortened, IPv4 in IPv6 as dotted IPv4 (RFC 5952). */
function inet6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return bytes.subarray(12).join('.');
  }
  let runStart = 0;
  let runLength = 0;
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > runLength) {
      runStart = start;
      runLength = length;
    }
  }
  const text = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  return runLength < 2 ? text(0, 8) : `${text(0, runStart)}::${text(runStart + runLength, 8)}`;
}

/** Calls `take` for each type-length-value in bytes[start, end). */
function walkTlvs(
  bytes: Buffer,
  start: number,
  end: number,
  take: (type: number, from: number, to: number) => void,
) {
  let at = start;
  while (at < end) {
    if (at + 3 > end) throw refused('an extension cut off');
    const from = at + 3;
    const to = from + bytes.readUInt16BE(at + 1);
    if (to > end) throw refused('an extension cut off');
    take(bytes[at], from, to);
    at = to;
  }
}

function readTlvs(bytes: Buffer, start: number): ProxyTls | null {
  let tls: ProxyTls | null = null;
  walkTlvs(bytes, start, bytes.length, (type, from, to) => {
    if (type === TLV_CRC32C) checkCrc(bytes, from, to);
    if (type === TLV_TLS) tls = readTls(bytes, from, to);
  });
  return tls;
}

function readTls(bytes: Buffer, from: number, to: number): ProxyTls | null {
  if (to - from < 5) throw refused('a TLS extension cut off');
  const client = bytes[from];
  if ((client & CLIENT_TLS) === 0) return null;
  const hasCertificate = (client & (CLIENT_CERT_CONN | CLIENT_CERT_SESSION)) !== 0;
  const isVerified = bytes.readUInt32BE(from + 1) === 0;
  const tls: ProxyTls = { authorized: hasCertificate && isVerified, commonName: null, protocol: null };
  walkTlvs(bytes, from + 5, to, (type, start, end) => {
    if (type === TLV_TLS_VERSION) tls.protocol = bytes.toString('latin1', start, end);
    if (type === TLV_TLS_COMMON_NAME) tls.commonName = bytes.toString('utf8', start, end);
  });
  return tls;
}

function checkCrc(bytes: Buffer, from: number, to: number): void {
  if (to - from !== 4) throw refused('a checksum of the wrong length');
  const copy = Buffer.from(bytes);
  copy.fill(0, from, to);
  if (crc32c(copy) !== bytes.readUInt32BE(from)) throw refused('a checksum that does not fit');
}

/** CRC-32C (Castagnoli), bit by bit: headers with one are rare and short. */
export function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function refused(detail: string): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_PROXY_HEADER', detail);
}
