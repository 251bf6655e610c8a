// One real listener on a free port, with streams that note what they get, and plain clients for it.

import net from 'node:net';
import tls from 'node:tls';
import type { Test } from 'tap';
import { WebSocket } from 'ws';
import type { ByteStream } from '../../src/listener/byte-stream.ts';
import type { ListenerLimit } from '../../src/listener/guard.ts';
import type { ListenerOptions } from '../../src/listener/listener.ts';
import { Listeners } from '../../src/listener/listeners.ts';
import { systemClock } from '../../src/util/clock.ts';

export interface RunningListener {
  listeners: Listeners;
  port: number;
  streams: ByteStream[];
  refused: ListenerLimit[];
  /** What the streams have received, in order of arrival. */
  received: Buffer[];
  /** One entry per closed stream: had it an error. */
  closed: boolean[];
  counts: { open: number; drains: number; bytes: number };
}

/** Opens a listener; `onData` is what its streams do, by default they answer with what they get. */
export async function startListener(
  t: Test,
  options: Partial<ListenerOptions>,
  onData: (stream: ByteStream, chunk: Buffer) => void = (stream, chunk) => stream.write(chunk),
): Promise<RunningListener> {
  const streams: ByteStream[] = [];
  const refused: ListenerLimit[] = [];
  const received: Buffer[] = [];
  const closed: boolean[] = [];
  const counts = { open: 0, drains: 0, bytes: 0 };
  const listeners = new Listeners({
    listeners: [
      {
        name: 'one',
        type: 'tcp',
        host: '127.0.0.1',
        port: 0,
        path: '/mqtt',
        tls: null,
        proxyProtocol: 'off',
        trustedProxies: [],
        maxConnections: 100,
        maxConnectionsPerSource: 100,
        connectTimeoutMs: 60_000,
        preConnectMaxBytes: 100_000_000,
        ...options,
      },
    ],
    maxMessageBytes: 1_000_000,
    clock: systemClock,
    events: {
      onStream(stream) {
        streams.push(stream);
        stream.setHandlers({
          onData(chunk) {
            received.push(chunk);
            counts.bytes += chunk.length;
            onData(stream, chunk);
          },
          onDrain: () => {
            counts.drains++;
          },
          onClose: (hadError) => closed.push(hadError),
        });
      },
      onAccepted: () => {
        counts.open++;
      },
      onClosed: () => {
        counts.open--;
      },
      onRefused: (_name, limit) => refused.push(limit),
      onError: (_name, error) => {
        throw error;
      },
    },
  });
  await listeners.open();
  t.teardown(() => {
    listeners.close();
    listeners.destroyConnections();
  });
  return { listeners, port: listeners.ports().get('one')!, streams, refused, received, closed, counts };
}

/** A client of plain sockets, or of TLS, that keeps what it gets. */
export function connectSocket(t: Test, port: number, secure?: tls.ConnectionOptions) {
  const socket = secure
    ? tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...secure })
    : net.connect({ port, host: '127.0.0.1' });
  const chunks: Buffer[] = [];
  const state = { isClosed: false };
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => {});
  socket.on('close', () => {
    state.isClosed = true;
  });
  t.teardown(() => socket.destroy());
  return { socket, state, text: () => Buffer.concat(chunks).toString() };
}

/** A WebSocket client that keeps what it gets. */
export function connectWebSocket(t: Test, url: string, protocols: string[] = ['mqtt']) {
  const socket = new WebSocket(url, protocols, { rejectUnauthorized: false });
  const chunks: Buffer[] = [];
  const state = { closeCode: 0, error: '' };
  socket.on('message', (message: Buffer) => chunks.push(message));
  socket.on('error', (error) => {
    state.error = error.message;
  });
  socket.on('close', (code) => {
    state.closeCode = code;
  });
  t.teardown(() => socket.terminate());
  return { socket, state, text: () => Buffer.concat(chunks).toString() };
}
