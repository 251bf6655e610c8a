// One connection to one Redis server: the only file that makes ioredis clients. It connects, connects again by itself,
// asks the server who it is each time (history id, version, role), and sends commands that are encoded already. It never
// repeats a command: what a cut connection leaves unanswered is an Error for the sender, who knows what may run twice.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Command, Redis, type RedisOptions } from 'ioredis';
import type { CompiledRedis } from '../../config/compile.ts';
import type { Clock, Timer } from '../../util/clock.ts';
import { asText, encodeCommand, type Reply } from './resp.ts';

/** What INFO says of a server. */
export interface ServerFacts {
  readonly version: string;
  readonly isCluster: boolean;
  readonly isMaster: boolean;
  readonly evictionPolicy: string;
  /** appendonly is yes, now. */
  readonly hasAppendOnlyFile: boolean;
  /** Short form of run_id and master_replid: another one means that the data may be older than what was seen of it. */
  readonly history: string;
}

export interface ConnectionEvents {
  onReady(facts: ServerFacts): void;
  /** Not called again until the next onReady. */
  onDown(reason: string): void;
}

/** A fixed server, or null for the one that the Sentinels of the address name. */
export type Target = { readonly host: string; readonly port: number } | null;

const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 1000;
const INFO = encodeCommand('INFO', 'all');
const AS_BUFFERS = { replyEncoding: null };

type Settle = (error: Error | null | undefined, reply?: unknown) => void;

/** A command that is encoded already. */
class EncodedCommand extends Command {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer, settle: Settle) {
    super('evalsha', [], AS_BUFFERS, settle);
    this.#bytes = bytes;
  }

  override toWritable(): Buffer {
    return this.#bytes;
  }
}

export class Connection {
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #events: ConnectionEvents;
  readonly #watch: Timer;
  #facts: ServerFacts | null = null;
  #isClosed = false;
  #isDownTold = false;
  #lastError = '';
  #unanswered = 0;
  #answeredAt = 0;

  /**
   * `silenceMs`: a server that leaves a command unanswered for longer is given up and connected to again; a network
   * that swallows packets is not noticed otherwise for many minutes.
   */
  constructor(
    redis: CompiledRedis,
    target: Target,
    purpose: string,
    silenceMs: number,
    clock: Clock,
    events: ConnectionEvents,
  ) {
    this.#clock = clock;
    this.#events = events;
    this.#redis = new Redis(connectionOptions(redis, target, purpose));
    this.#redis.on('error', (error: Error) => {
      this.#lastError = error.message;
    });
    this.#redis.on('ready', () => this.#introduce());
    this.#redis.on('close', () => this.#goDown(this.#lastError || 'the connection was closed'));
    this.#redis.on('end', () => this.#revive());
    this.#watch = clock.every(Math.min(1000, silenceMs / 2), () => {
      if (this.#unanswered > 0 && clock.monotonicMs() - this.#answeredAt > silenceMs) {
        this.cut(`no answer for ${silenceMs} ms`);
      }
    });
  }

  get isReady(): boolean {
    return this.#facts !== null;
  }

  /** History id of the server, '' while there is none. */
  get history(): string {
    return this.#facts?.history ?? '';
  }

  /** An object of its own for each time that it has connected; null while it is not. */
  get connection(): object | null {
    return this.#facts;
  }

  /** host:port of the server that is connected, '' when none is. */
  get address(): string {
    const stream = this.#redis.stream;
    return stream?.remoteAddress ? `${stream.remoteAddress}:${stream.remotePort}` : '';
  }

  /** Writes the commands in one go. `done` is called once with a reply for each: an Error for one that failed or was cut. */
  run(commands: readonly Buffer[], done: (replies: Reply[]) => void): void {
    if (this.#facts === null) {
      const down = new Error(this.#lastError || 'not connected');
      this.#clock.soon(() => done(commands.map(() => down)));
      return;
    }
    this.#send(commands, done);
  }

  #send(commands: readonly Buffer[], done: (replies: Reply[]) => void): void {
    const replies = new Array<Reply>(commands.length);
    let left = commands.length;
    if (this.#unanswered === 0) this.#answeredAt = this.#clock.monotonicMs();
    this.#unanswered += left;
    const stream = this.#redis.stream;
    stream?.cork();
    for (let index = 0; index < commands.length; index++) {
      const settle: Settle = (error, reply) => {
        this.#unanswered--;
        this.#answeredAt = this.#clock.monotonicMs();
        replies[index] = error ?? (reply as Reply);
        if (--left === 0) done(replies);
      };
      this.#redis.sendCommand(new EncodedCommand(commands[index] as Buffer, settle));
    }
    stream?.uncork();
  }

  #introduce(): void {
    this.#send([INFO], ([reply]) => {
      if (this.#isClosed || this.#redis.status !== 'ready') return;
      if (!Buffer.isBuffer(reply)) {
        this.cut(`INFO was refused: ${asText(reply)}`);
        return;
      }
      this.#facts = readInfo(reply.utf8Slice());
      this.#isDownTold = false;
      this.#lastError = '';
      this.#events.onReady(this.#facts);
    });
  }

  #goDown(reason: string): void {
    this.#facts = null;
    if (this.#isDownTold || this.#isClosed) return;
    this.#isDownTold = true;
    this.#events.onDown(reason);
  }

  /**
   * ioredis gives up for good when it is told to disconnect while it asks a Sentinel, which a Sentinel's own word of
   * another master does too: the watch of the connection before still stands then.
   */
  #revive(): void {
    if (this.#isClosed) return;
    this.#goDown(this.#lastError || 'the connection was ended');
    this.#clock.after(RETRY_FIRST_MS, () => {
      if (!this.#isClosed && this.#redis.status === 'end') this.#redis.connect().catch(() => {});
    });
  }

  /** Ends the socket; the connection is made again. */
  cut(reason: string): void {
    if (this.#isClosed) return;
    this.#lastError = reason;
    // disconnect() waits for the other side, which may be the one that does not answer any more.
    const stream = this.#redis.stream;
    this.#redis.disconnect(true);
    stream?.destroy();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#facts = null;
    this.#watch.cancel();
    const stream = this.#redis.stream;
    this.#redis.disconnect();
    stream?.destroy();
  }
}

/** Settings that leave every decision about repeating to us (DESIGN, "Redis, by rules"). */
function connectionOptions(redis: CompiledRedis, target: Target, purpose: string): RedisOptions {
  const tls = redis.tls && {
    ca: redis.tls.caFile === undefined ? undefined : readFileSync(redis.tls.caFile),
    cert: redis.tls.certFile === undefined ? undefined : readFileSync(redis.tls.certFile),
    key: redis.tls.keyFile === undefined ? undefined : readFileSync(redis.tls.keyFile),
    rejectUnauthorized: redis.tls.rejectUnauthorized,
  };
  const common: RedisOptions = {
    db: redis.database,
    connectionName: `${redis.prefix}-${purpose}`,
    disableClientInfo: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    maxLoadingRetryTime: 500,
    connectTimeout: redis.connectTimeoutMs,
    keepAlive: 10_000,
    retryStrategy: (times) => Math.min(RETRY_FIRST_MS * 2 ** Math.min(times - 1, 10), RETRY_MOST_MS),
    ...(redis.username === undefined ? {} : { username: redis.username }),
    ...(redis.password === undefined ? {} : { password: redis.password }),
    ...(tls ? { tls } : {}),
  };
  if (target) return { ...common, host: target.host, port: target.port };
  return {
    ...common,
    sentinels: redis.endpoints.map(({ host, port }) => ({ host, port })),
    name: redis.masterName ?? '',
    role: 'master',
    sentinelRetryStrategy: (times) => Math.min(RETRY_FIRST_MS * times, RETRY_MOST_MS),
    // Sentinel's word that the master has changed; a master that is frozen keeps its connections open.
    failoverDetector: purpose === 'lane',
    ...(redis.sentinelUsername === undefined ? {} : { sentinelUsername: redis.sentinelUsername }),
    ...(redis.sentinelPassword === undefined ? {} : { sentinelPassword: redis.sentinelPassword }),
    ...(tls ? { enableTLSForSentinelMode: true, sentinelTLS: tls } : {}),
  };
}

function readInfo(text: string): ServerFacts {
  const fields = new Map<string, string>();
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  const runId = fields.get('run_id') ?? '';
  const replicationId = fields.get('master_replid') ?? '';
  return {
    version: fields.get('redis_version') ?? '0.0.0',
    isCluster: fields.get('cluster_enabled') === '1',
    isMaster: fields.get('role') !== 'slave',
    evictionPolicy: fields.get('maxmemory_policy') ?? '',
    hasAppendOnlyFile: fields.get('aof_enabled') === '1',
    // Short, because every session keeps it.
    history: createHash('sha1').update(`${runId} ${replicationId}`).digest('base64url').slice(0, 8),
  };
}
