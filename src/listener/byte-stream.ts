// What a listener hands on: a stream of bytes with just the calls that a connection needs, the same for TCP, TLS and
// WebSocket. Nothing here knows what the bytes mean.

/** The client's certificate, as our TLS or a trusted proxy saw it. */
export interface TlsInfo {
  /** The certificate was given and verified. */
  authorized: boolean;
  /** Common name of the certificate's subject, or null. */
  commonName: string | null;
  /** Subject alternative names in OpenSSL's form (`DNS:a, URI:b`), or null; not told by proxies. */
  subjectAltName: string | null;
  /** SHA-256 fingerprint (`AB:CD:…`), or null; not told by proxies. */
  fingerprint: string | null;
  /** `TLSv1.3` and the like, or null. */
  protocol: string | null;
}

export interface StreamInfo {
  /** Name of the listener. */
  listener: string;
  /** The client's address: as a PROXY header told it, else the socket's. IPv4 is always in its dotted form. */
  remoteAddress: string;
  remotePort: number;
  /** Null without TLS. */
  tls: TlsInfo | null;
  /** The addresses are those of a PROXY header. */
  proxied: boolean;
}

export interface StreamHandlers {
  /** The next bytes; the chunk is the receiver's own. A few chunks may still come after `pauseReading`. */
  onData(chunk: Buffer): void;
  /** After `write` answered false: there is room again. */
  onDrain(): void;
  /** Comes exactly once, as the last call. */
  onClose(hadError: boolean): void;
}

export interface ByteStream {
  readonly info: StreamInfo;
  /** Comes once, in the very call that hands the stream over; nothing is read before. */
  setHandlers(handlers: StreamHandlers): void;
  /** Sends the bytes, which must not change afterwards. False: more than the high-water mark waits, onDrain follows. */
  write(chunk: Buffer): boolean;
  /** Sends what waits and closes; after a short time it closes anyhow. What still comes in is dropped. */
  end(): void;
  /** Closes at once; what waits is lost. */
  destroy(): void;
  pauseReading(): void;
  resumeReading(): void;
  /** Bytes written that the kernel has not taken yet. */
  bytesWaiting(): number;
  /** Tells that the client has passed CONNECT: the guard's time and byte limits end here. */
  established(): void;
}

/** How long a stream that was ended may take to send what waits and to hear the other side close. */
export const END_LINGER_MS = 2_000;

/** Above this many bytes waiting in a socket, `write` answers false. One tick of a busy outbox fits in. */
export const HIGH_WATER_BYTES = 65_536;
