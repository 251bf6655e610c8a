// What a worker and the process that supervises it say to each other, over the channel between them. Connections go one
// at a time: the next one is sent when `taken` has come, so that a worker whose event loop is busy gets no more of them
// than it takes, and none waits at a worker that dies.

import type { Socket } from 'node:net';
import type { CompiledConfig } from '../config/compile.ts';

/** How a worker is, four times a second while it lives. */
export interface WorkerStatus {
  readonly ready: boolean;
  /** Sentences; empty when ready. */
  readonly reasons: readonly string[];
  /** State of its node. */
  readonly state: string;
  /** Connections that it has. */
  readonly connections: number;
}

export type ToWorker =
  /** The first message: what to run. A worker reads no configuration, so that all run on the same one. */
  | { readonly kind: 'config'; readonly config: CompiledConfig }
  /** With a socket, unless the client has gone meanwhile. Answered by `taken`. */
  | { readonly kind: 'connection'; readonly listener: string }
  /** Answered by `metrics`. */
  | { readonly kind: 'ask-metrics'; readonly ask: number }
  /** The certificates are to be read again. */
  | { readonly kind: 'reload' };

export type FromWorker =
  | { readonly kind: 'status'; readonly status: WorkerStatus }
  | { readonly kind: 'taken'; readonly connections: number }
  | { readonly kind: 'metrics'; readonly ask: number; readonly text: string };

/** The channel as a worker sees it. */
export interface ParentChannel {
  send(message: FromWorker): void;
  /** Calls `run` for each message from now on. */
  onMessage(run: (message: ToWorker, socket: Socket | undefined) => void): void;
}
