// The bus for what may be lost: the figures that nodes tell each other for $SYS. mqemitter-redis carries it over Redis
// pub/sub, at most once; without Redis its in-process sister does. Nothing that matters goes this way. Errors of its
// connections are the store's to tell, and end nothing. Channels carry the prefix of this cluster, so that two clusters
// on one Redis do not hear each other.

import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import mqemitter from 'mqemitter';
import mqemitterRedis from 'mqemitter-redis';
import type { CompiledRedis } from '../config/compile.ts';

export interface ControlBusOptions {
  /** null: one node, nothing leaves the process. */
  readonly redis: CompiledRedis | null;
  /** Told of each message of any node, this one included. Bytes of others are not to be trusted. */
  onMessage(payload: string): void;
  /** Counts. */
  onTraffic(direction: 'sent' | 'received'): void;
}

interface Emitter {
  on(
    topic: string,
    listener: (message: { payload: string }, done: () => void) => void,
    done?: () => void,
  ): void;
  emit(message: { topic: string; payload: string }, done?: (error?: Error) => void): void;
  state?: { on(event: 'error', listener: (error: Error) => void): void };
}

const RETRY_MOST_MS = 2000;
const CLOSE_MS = 500;

export class ControlBus {
  readonly #options: ControlBusOptions;
  readonly #topic: string;
  readonly #connections: Redis[] = [];
  #emitter: Emitter | null = null;

  constructor(options: ControlBusOptions) {
    this.#options = options;
    // Filters and levels mean nothing here: the prefix is one level whatever it holds.
    this.#topic = `${Buffer.from(options.redis?.prefix ?? '').toString('hex')}-figures`;
  }

  /** Begins to listen; does not wait for Redis. */
  start(): void {
    const { redis, onMessage, onTraffic } = this.#options;
    const listen = (): void =>
      emitter.on(this.#topic, (message, done) => {
        onTraffic('received');
        onMessage(message.payload);
        done();
      });
    let emitter: Emitter;
    if (redis === null) {
      emitter = mqemitter() as unknown as Emitter;
      listen();
    } else {
      const subConn = connect(redis);
      const pubConn = connect(redis);
      this.#connections.push(subConn, pubConn);
      emitter = mqemitterRedis({ subConn, pubConn } as never) as unknown as Emitter;
      passOverGarbage(subConn);
      emitter.state?.on('error', () => {});
      // A subscription during the handshake would end the connection (ioredis #2037).
      subConn.once('ready', listen);
      // On later connections it is made anew here: where ioredis does it, a failure is nobody's and ends the process.
      subConn.on('ready', () => this.#subscribe(subConn));
    }
    this.#emitter = emitter;
  }

  #subscribe(subConn: Redis): void {
    subConn.subscribe(this.#topic).catch(() => {
      if (this.#emitter !== null) subConn.disconnect(true);
    });
  }

  publish(payload: string): void {
    if (this.#emitter === null) return;
    this.#options.onTraffic('sent');
    this.#emitter.emit({ topic: this.#topic, payload }, () => {});
  }

  /** Ends the connections; resolves also where Redis does not answer. */
  close(after: (delayMs: number, run: () => void) => void): Promise<void> {
    this.#emitter = null;
    const connections = this.#connections.splice(0);
    // Not by the emitter: it says QUIT also to a connection that is down, and leaves that error to nobody.
    const ends = connections.map((one) => (one.status === 'ready' ? one.quit().catch(() => {}) : null));
    return new Promise((resolve) => {
      const end = (): void => {
        for (const connection of connections) connection.disconnect();
        resolve();
      };
      after(CLOSE_MS, end);
      void Promise.all(ends).then(end);
    });
  }
}

/**
 * mqemitter-redis decodes what comes on a channel without expecting that it cannot be: anybody who may publish on the
 * Redis could end all nodes by one byte.
 */
function passOverGarbage(subConn: Redis): void {
  const listeners = subConn.listeners('messageBuffer');
  subConn.removeAllListeners('messageBuffer');
  subConn.on('messageBuffer', (channel: Buffer, bytes: Buffer) => {
    try {
      for (const listener of listeners) listener(channel, bytes);
    } catch {
      // Figures that cannot be read are as good as lost ones.
    }
  });
}

function connect(redis: CompiledRedis): Redis {
  const [first] = redis.endpoints;
  const common = {
    username: redis.username,
    password: redis.password,
    connectTimeout: redis.connectTimeoutMs,
    tls: redis.tls === null ? undefined : tlsOptions(redis.tls),
    // Figures that cannot leave now are worthless later.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    retryStrategy: (times: number) => Math.min(times * 100, RETRY_MOST_MS),
  };
  if (redis.mode !== 'sentinel') return new Redis({ ...common, host: first.host, port: first.port });
  return new Redis({
    ...common,
    sentinels: [...redis.endpoints],
    name: redis.masterName,
    sentinelUsername: redis.sentinelUsername,
    sentinelPassword: redis.sentinelPassword,
    db: redis.database,
  });
}

function tlsOptions(tls: NonNullable<CompiledRedis['tls']>): object {
  const read = (file: string | undefined): Buffer | undefined =>
    file === undefined ? undefined : readFileSync(file);
  return {
    ca: read(tls.caFile),
    cert: read(tls.certFile),
    key: read(tls.keyFile),
    rejectUnauthorized: tls.rejectUnauthorized,
  };
}
