// One listening port: accepts a socket, has the guard admit it, reads the PROXY header, then does TLS and the WebSocket
// upgrade as its type asks, and hands on what comes out as a ByteStream. PROXY comes first on the wire, whatever
// follows. Invariant: every accepted socket either becomes one stream or is closed by the guard's deadline, and leaves
// its admission when it closes.

import { BlockList, createServer, isIPv6, type Server, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';
import { type ByteStream, HIGH_WATER_BYTES, type StreamInfo } from './byte-stream.ts';
import { type Admission, Guard, type GuardLimits, type ListenerLimit, plainAddress } from './guard.ts';
import { type ProxyHeader, ProxyHeaderReader, type ProxyVersions } from './proxy-protocol.ts';
import { SocketStream } from './tcp.ts';
import { type TlsFiles, TlsFront, tlsInfoOf } from './tls.ts';
import { WebSocketFront, WebSocketStream } from './websocket.ts';

export type ListenerType = 'tcp' | 'tls' | 'ws' | 'wss';

/** The compiled configuration's form of a listener fits. */
export interface ListenerOptions extends Readonly<GuardLimits> {
  readonly name: string;
  readonly type: ListenerType;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Path of the WebSocket. */
  readonly path: string;
  /** Needed for tls and wss. */
  readonly tls: TlsFiles | null;
  readonly proxyProtocol: 'off' | ProxyVersions;
  /** Addresses or networks (CIDR) whose PROXY header is believed; connections of others are closed. */
  readonly trustedProxies: readonly string[];
}

export interface ListenerEvents {
  /** A new stream; its handlers are to be set in this very call. */
  onStream(stream: ByteStream): void;
  /** A socket was accepted and admitted; onClosed follows once. */
  onAccepted(listener: string): void;
  onClosed(listener: string): void;
  /** A connection was refused or closed by the named limit. */
  onRefused(listener: string, limit: ListenerLimit): void;
  /** The port itself fails (too many open files). */
  onError(listener: string, error: Error): void;
}

/** Connections that may wait to be accepted, as far as the system allows: a connect storm is not to be refused. */
const BACKLOG = 4096;
/** TCP keep-alive finds peers that vanished without a word where no MQTT keep-alive is asked for. */
const TCP_KEEP_ALIVE_MS = 60_000;

/** What is known of a socket on its way to a stream. */
interface Arrival {
  admission: Admission;
  info: StreamInfo;
}

export class Listener {
  readonly options: ListenerOptions;
  readonly guard: Guard;
  readonly #events: ListenerEvents;
  readonly #clock: Clock;
  readonly #server: Server;
  readonly #tls: TlsFront | null;
  readonly #webSocket: WebSocketFront | null;
  readonly #trusted = new BlockList();
  readonly #sockets = new Set<Socket>();
  /** In the TLS handshake, by addresses: the TLS socket that comes out does not tell which socket went in. */
  readonly #handshakes = new Map<string, Arrival>();
  /** In the WebSocket upgrade. */
  readonly #upgrades = new WeakMap<Socket, Arrival>();

  /** Throws SWARMQ_ERR_LISTEN where the certificates cannot be used. `maxMessageBytes` is for WebSocket messages. */
  constructor(options: ListenerOptions, maxMessageBytes: number, events: ListenerEvents, clock: Clock) {
    this.options = options;
    this.#events = events;
    this.#clock = clock;
    this.guard = new Guard(options, clock, (limit) => events.onRefused(options.name, limit));
    for (const network of options.trustedProxies) addNetwork(this.#trusted, network);
    const isWebSocket = options.type === 'ws' || options.type === 'wss';
    this.#webSocket = isWebSocket
      ? new WebSocketFront({
          path: options.path,
          maxMessageBytes,
          onStream: (webSocket, socket) => {
            const { info, admission } = this.#upgrades.get(socket)!;
            events.onStream(new WebSocketStream(webSocket, socket, info, admission));
          },
        })
      : null;
    this.#tls = this.#openTls(options);
    this.#server = createServer(
      {
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
        highWaterMark: HIGH_WATER_BYTES,
      },
      (socket) => this.#accept(socket),
    );
  }

  /** The port that is listened on. */
  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  /** Resolves when connections are accepted. Rejects with SWARMQ_ERR_LISTEN. */
  listen(): Promise<void> {
    const { name, host, port } = this.options;
    return new Promise((resolve, reject) => {
      const fail = (cause: Error) =>
        reject(
          new SwarmqError('SWARMQ_ERR_LISTEN', `${name} on ${host}:${port}: ${cause.message}`, { cause }),
        );
      this.#server.once('error', fail);
      this.#server.listen({ host, port, backlog: BACKLOG }, () => {
        this.#server.off('error', fail);
        this.#server.on('error', (error) => this.#events.onError(name, error));
        resolve();
      });
    });
  }

  /** Takes a connection that another process has accepted for this listener. */
  take(socket: Socket): void {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
    this.#accept(socket);
  }

  /** Stops accepting; the port is free at once, open connections stay. */
  close(): void {
    this.#server.close();
  }

  /** Closes every connection, also those that are no stream yet. */
  destroyConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Reads the certificate files again, for new connections. Throws SWARMQ_ERR_LISTEN and goes on with the old ones. */
  reloadTls(): void {
    this.#tls?.reload();
  }

  #openTls(options: ListenerOptions): TlsFront | null {
    if (options.type !== 'tls' && options.type !== 'wss') return null;
    if (options.tls === null)
      throw new SwarmqError('SWARMQ_ERR_LISTEN', `${options.name} has no certificate`);
    return new TlsFront(options.tls, options.connectTimeoutMs, (secure) => this.#secured(secure));
  }

  #accept(socket: Socket): void {
    const { name } = this.options;
    const admission = this.guard.admit(() => socket.destroy());
    if (admission === null) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    this.#events.onAccepted(name);
    // An error is always followed by a close; streams have handlers of their own besides.
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      this.#sockets.delete(socket);
      admission.leave();
      this.#events.onClosed(name);
    });
    const info: StreamInfo = {
      listener: name,
      remoteAddress: plainAddress(socket.remoteAddress ?? ''),
      remotePort: socket.remotePort ?? 0,
      tls: null,
      proxied: false,
    };
    if (this.options.proxyProtocol === 'off') this.#admitted(socket, { admission, info });
    else this.#readProxyHeader(socket, { admission, info }, this.options.proxyProtocol);
  }

  #readProxyHeader(socket: Socket, arrival: Arrival, versions: ProxyVersions): void {
    const { remoteAddress } = arrival.info;
    if (!this.#trusted.check(remoteAddress, isIPv6(remoteAddress) ? 'ipv6' : 'ipv4')) {
      this.guard.refuse('proxy_header');
      socket.destroy();
      return;
    }
    const reader = new ProxyHeaderReader(versions);
    const take = (chunk: Buffer) => {
      let result: ReturnType<ProxyHeaderReader['push']>;
      try {
        result = reader.push(chunk);
      } catch {
        this.guard.refuse('proxy_header');
        socket.destroy();
        return;
      }
      // Bytes behind the header are put back, and counted when they are read again.
      const restBytes = result === null ? 0 : result.rest.length;
      if (!arrival.admission.spend(chunk.length - restBytes) || result === null) return;
      socket.pause();
      socket.off('data', take);
      applyHeader(arrival.info, result.header);
      if (restBytes > 0) socket.unshift(result.rest);
      this.#admitted(socket, arrival);
    };
    socket.on('data', take);
  }

  /** The client's address is known: counts it, and goes on with the next layer. */
  #admitted(socket: Socket, arrival: Arrival): void {
    if (!arrival.admission.claimSource(arrival.info.remoteAddress)) {
      socket.destroy();
      return;
    }
    if (this.#tls === null) {
      this.#opened(socket, arrival);
      return;
    }
    const key = addressKey(socket);
    this.#handshakes.set(key, arrival);
    socket.once('close', () => this.#handshakes.delete(key));
    this.#tls.accept(socket);
  }

  #secured(secure: TLSSocket): void {
    const key = addressKey(secure);
    const arrival = this.#handshakes.get(key);
    // A socket that closed in between has no address any more.
    if (arrival === undefined) {
      secure.destroy();
      return;
    }
    this.#handshakes.delete(key);
    arrival.info.tls = tlsInfoOf(secure);
    secure.on('error', () => secure.destroy());
    this.#opened(secure, arrival);
  }

  #opened(socket: Socket, arrival: Arrival): void {
    const { info, admission } = arrival;
    if (this.#webSocket === null) {
      this.#events.onStream(new SocketStream(socket, info, admission, this.#clock));
    } else {
      this.#upgrades.set(socket, arrival);
      this.#webSocket.accept(socket);
    }
    // A socket that was paused behind its PROXY header does not flow by itself.
    socket.resume();
  }
}

/** Names a connection from accept to close: the far end, and which of our addresses it reached. */
function addressKey(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress}`;
}

function addNetwork(networks: BlockList, network: string): void {
  const [address, bits] = network.split('/');
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  if (bits === undefined) networks.addAddress(address, family);
  else networks.addSubnet(address, Number(bits), family);
}

/** Puts what a trusted proxy told in place of the socket's own addresses. */
function applyHeader(info: StreamInfo, header: ProxyHeader): void {
  if (!header.isProxied) return;
  info.proxied = true;
  info.remoteAddress = plainAddress(header.sourceAddress);
  info.remotePort = header.sourcePort;
  if (header.tls !== null) info.tls = { ...header.tls, subjectAltName: null, fingerprint: null };
}
