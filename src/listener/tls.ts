// TLS in front of a listener: reads certificate files, can read them again for new connections without touching the
// open ones, and tells what a client's certificate says. The sockets come from outside, already accepted.

import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls';
import { SwarmqError } from '../util/errors.ts';
import type { TlsInfo } from './byte-stream.ts';

export interface TlsFiles {
  /** Paths of PEM files: certificate chain, private key. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Authorities that client certificates must come from; undefined for the system's. */
  readonly caFile: string | undefined;
  /** Ask for a client certificate, and refuse clients without a valid one. */
  readonly requestCert: boolean;
}

export class TlsFront {
  readonly #files: TlsFiles;
  readonly #server: Server;

  /**
   * `onSecure` gets each socket whose handshake is done; a failed one is closed. Throws SWARMQ_ERR_LISTEN where a file
   * cannot be read or is no certificate.
   */
  constructor(files: TlsFiles, handshakeTimeoutMs: number, onSecure: (socket: TLSSocket) => void) {
    this.#files = files;
    try {
      this.#server = createServer({
        ...readContext(files),
        requestCert: files.requestCert,
        rejectUnauthorized: files.requestCert,
        handshakeTimeout: handshakeTimeoutMs,
      });
    } catch (cause) {
      throw unusable(files, cause);
    }
    this.#server.on('secureConnection', onSecure);
    this.#server.on('tlsClientError', (_error, socket) => socket.destroy());
  }

  /** Begins the handshake on an accepted socket; bytes that were read ahead and put back are taken first. */
  accept(socket: Socket): void {
    this.#server.emit('connection', socket);
  }

  /** Reads the files again; connections from now on use them. Throws SWARMQ_ERR_LISTEN and keeps the old ones. */
  reload(): void {
    try {
      this.#server.setSecureContext(readContext(this.#files));
    } catch (cause) {
      throw unusable(this.#files, cause);
    }
  }
}

function readContext(files: TlsFiles): SecureContextOptions {
  return {
    cert: readFileSync(files.certFile),
    key: readFileSync(files.keyFile),
    ...(files.caFile === undefined ? {} : { ca: readFileSync(files.caFile) }),
    minVersion: 'TLSv1.2',
  };
}

function unusable(files: TlsFiles, cause: unknown): SwarmqError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new SwarmqError('SWARMQ_ERR_LISTEN', `certificate ${files.certFile}: ${reason}`, { cause });
}

/** What the TLS of this very socket says of the client. */
export function tlsInfoOf(socket: TLSSocket): TlsInfo {
  // Typed as always there, but an empty object without a client certificate.
  const certificate: Partial<ReturnType<TLSSocket['getPeerCertificate']>> = socket.getPeerCertificate() ?? {};
  // A list where the subject has several: the first is taken, whatever the type definitions say.
  const names: string | string[] | undefined = certificate.subject?.CN;
  return {
    authorized: socket.authorized,
    commonName: (Array.isArray(names) ? names[0] : names) ?? null,
    subjectAltName: certificate.subjectaltname ?? null,
    fingerprint: certificate.fingerprint256 ?? null,
    protocol: socket.getProtocol(),
  };
}
