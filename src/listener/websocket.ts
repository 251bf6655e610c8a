// WebSocket in front of a listener: the HTTP upgrade, and one socket of `ws` as a ByteStream. Binary frames only
// [MQTT-6.0.0-1]; how packets are spread over frames means nothing [MQTT-6.0.0-2]. No compression: it costs memory per
// connection and lets a small frame become a large one.

import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type RawData, type WebSocket, WebSocketServer } from 'ws';
import {
  type ByteStream,
  END_LINGER_MS,
  HIGH_WATER_BYTES,
  type StreamHandlers,
  type StreamInfo,
} from './byte-stream.ts';
import type { Admission } from './guard.ts';

/** Names of MQTT over WebSocket; the second is that of clients of MQTT 3.1. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1'] as const;
const HEADER_MAX_BYTES = 8_192;
const CLOSE_NORMAL = 1000;
const CLOSE_UNSUPPORTED_DATA = 1003;

export interface WebSocketFrontOptions {
  path: string;
  /** Largest message (all its frames), in bytes; a packet and then some. */
  maxMessageBytes: number;
  onStream(webSocket: WebSocket, socket: Socket): void;
}

export class WebSocketFront {
  readonly #http: Server;
  readonly #webSockets: WebSocketServer;
  readonly #options: WebSocketFrontOptions;

  constructor(options: WebSocketFrontOptions) {
    this.#options = options;
    const serverOptions = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      autoPong: false,
      maxPayload: options.maxMessageBytes,
      closeTimeout: END_LINGER_MS,
      handleProtocols: (offered: Set<string>) => SUBPROTOCOLS.find((name) => offered.has(name)) ?? false,
    };
    this.#webSockets = new WebSocketServer(serverOptions);
    this.#http = createServer({ maxHeaderSize: HEADER_MAX_BYTES, keepAlive: false }, (_request, response) => {
      response.writeHead(426, { connection: 'close', 'content-type': 'text/plain' });
      response.end('This port speaks MQTT over WebSocket.\n');
    });
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#http.on('clientError', (_error, socket) => socket.destroy());
  }

  /** Begins HTTP on a socket that is accepted, with its TLS done. */
  accept(socket: Socket): void {
    this.#http.emit('connection', socket);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const path = request.url?.split('?')[0];
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
    // A server must name one of the offered protocols, a client of MQTT must offer one [MQTT-6.0.0-3], [MQTT-6.0.0-4].
    if (path !== this.#options.path) {
      refuse(socket, '404 Not Found');
    } else if (!SUBPROTOCOLS.some((name) => offered.includes(name))) {
      refuse(socket, '400 Bad Request');
    } else {
      this.#webSockets.handleUpgrade(request, socket, head, (webSocket) =>
        this.#options.onStream(webSocket, socket as Socket),
      );
    }
  }
}

function refuse(socket: Duplex, status: string): void {
  socket.on('error', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}

export class WebSocketStream implements ByteStream {
  readonly info: StreamInfo;
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;
  readonly #admission: Admission;
  #isEnding = false;
  #hadError = false;

  constructor(webSocket: WebSocket, socket: Socket, info: StreamInfo, admission: Admission) {
    this.info = info;
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#admission = admission;
  }

  setHandlers(handlers: StreamHandlers): void {
    const webSocket = this.#webSocket;
    // Frames are collected by `ws` before we see them: bytes before CONNECT are counted as they come in.
    const count = (chunk: Buffer) => {
      if (this.#admission.isEstablished) this.#socket.off('data', count);
      else this.#admission.spend(chunk.length);
    };
    if (!this.#admission.isEstablished) this.#socket.on('data', count);
    webSocket.on('message', (message: RawData, isBinary: boolean) => {
      if (this.#isEnding) return;
      if (isBinary) return handlers.onData(message as Buffer);
      this.#isEnding = true;
      webSocket.close(CLOSE_UNSUPPORTED_DATA);
    });
    webSocket.on('ping', (payload: Buffer) => {
      // Who asks without reading the answers gets no more of them, so that they do not pile up.
      if (!this.#isEnding && this.bytesWaiting() < HIGH_WATER_BYTES) webSocket.pong(payload);
    });
    this.#socket.on('drain', () => {
      if (!this.#isEnding) handlers.onDrain();
    });
    webSocket.on('error', () => {
      this.#hadError = true;
    });
    webSocket.on('close', () => handlers.onClose(this.#hadError));
  }

  write(chunk: Buffer): boolean {
    if (this.#isEnding || this.#webSocket.readyState !== this.#webSocket.OPEN) return true;
    this.#webSocket.send(chunk, { binary: true, compress: false });
    return !this.#socket.writableNeedDrain;
  }

  end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    // The answer to the close frame must be heard, and `ws` closes after END_LINGER_MS without one.
    this.#webSocket.resume();
    this.#webSocket.close(CLOSE_NORMAL);
  }

  destroy(): void {
    this.#isEnding = true;
    this.#webSocket.terminate();
  }

  pauseReading(): void {
    if (!this.#isEnding) this.#webSocket.pause();
  }

  resumeReading(): void {
    this.#webSocket.resume();
  }

  bytesWaiting(): number {
    return this.#socket.writableLength;
  }

  established(): void {
    this.#admission.established();
  }
}
