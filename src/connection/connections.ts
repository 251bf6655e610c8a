// All connections of a node: makes one for each accepted byte stream, knows those that are open, and ends them together.
// What they share (the wheel, the end of a tick, the shell) is made here once.

import type { Logger } from '../observability/logger.ts';
import { Limit, type NodeStats } from '../observability/node-stats.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import type { AedesShell } from './aedes-shell.ts';
import { Connection, type ConnectionContext } from './connection.ts';
import { KeepAliveWheel } from './keep-alive.ts';
import type {
  Authenticator,
  ByteStream,
  ConnectionLimits,
  ConnectionPolicy,
  IngressPort,
  SessionsPort,
} from './ports.ts';
import { TickEnd } from './tick-end.ts';

export interface ConnectionsOptions {
  readonly limits: ConnectionLimits;
  readonly policy: ConnectionPolicy;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly stats: NodeStats;
  readonly shell: AedesShell;
  readonly authenticator: Authenticator;
  readonly sessions: SessionsPort;
  readonly ingress: IngressPort;
}

export class Connections {
  readonly #context: ConnectionContext;
  readonly #open = new Set<Connection>();
  readonly #whenEmpty: (() => void)[] = [];

  constructor(options: ConnectionsOptions) {
    const { clock, logger, ...parts } = options;
    this.#context = {
      ...parts,
      logger: logger.child({ module: 'connection' }),
      wheel: new KeepAliveWheel(clock),
      tickEnd: new TickEnd(clock),
      claimsUnderWay: 0,
      onClosed: (connection) => {
        this.#open.delete(connection);
        if (this.#open.size > 0) return;
        for (const resolve of this.#whenEmpty.splice(0)) resolve();
      },
    };
  }

  /** Connections whose stream is open, with or without a session. */
  get size(): number {
    return this.#open.size;
  }

  /** Takes over a byte stream; closes it at once where `limits.maxConnections` are open. */
  accept(stream: ByteStream): void {
    const { limits, stats } = this.#context;
    if (this.#open.size >= limits.maxConnections) {
      stats.limitRejections[Limit.CONNECTIONS]++;
      stream.destroy();
      return;
    }
    this.#open.add(new Connection(this.#context, stream));
  }

  /** Ends all of them, in MQTT 5 with this reason code. Resolves when their streams are gone: within a second. */
  closeAll(reasonCode: number): Promise<void> {
    if (this.#open.size === 0) return Promise.resolve();
    return new Promise<void>((resolve) => {
      this.#whenEmpty.push(resolve);
      for (const connection of [...this.#open]) connection.close(reasonCode);
    });
  }

  /** Stops the wheel: after closeAll, when nothing is accepted any more. */
  stop(): void {
    this.#context.wheel.stop();
  }
}
