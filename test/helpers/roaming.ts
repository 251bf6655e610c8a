// Clients that go on over failures: one that connects to the next port whenever it loses its connection, and a publisher
// that sends a numbered stream through such a client. What the publisher was promised is written down in a SentLog.

import { eventually } from './eventually.ts';
import { messagePayload, SentLog } from './history.ts';
import type { MqttClient, PublishOptions, Qos } from './mqtt-client.ts';

export interface Roaming {
  /** Resolves when the client is connected. */
  connected(withinMs?: number): Promise<void>;
  /** Attempts that found nobody or were refused. */
  failedAttempts: number;
  /** From now on a lost connection stays lost. */
  stop(): void;
}

/**
 * Connects `client` to the first of `ports()` and, whenever the connection is lost, to the next one of the list that
 * accepts (the one it was on comes last). The first connect of a client with `clean` unset or true stays clean.
 */
export function keepConnected(client: MqttClient, ports: () => number[], onConnected?: () => void): Roaming {
  let isStopped = false;
  let current = 0;
  const roaming: Roaming = {
    failedAttempts: 0,
    connected: async (withinMs) => {
      await eventually(`${client.options.clientId} is connected`, () => client.isConnected, withinMs);
    },
    stop() {
      isStopped = true;
    },
  };
  const attempt = async (): Promise<void> => {
    while (!isStopped && !client.isRetired && !client.isConnected) {
      const list = ports();
      const port = list[(list.indexOf(current) + 1) % list.length]!;
      current = port;
      try {
        await client.connect(port, { withinMs: 5000 });
        onConnected?.();
      } catch {
        roaming.failedAttempts++;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  };
  client.onClose = () => void attempt();
  void attempt();
  return roaming;
}

export interface StreamOptions {
  /** Names the stream in payloads and checks; no colon. */
  publisher: string;
  /** The topic, or one for each number. */
  topic: string | ((seq: number) => string);
  qos: Qos | ((seq: number) => Qos);
  retain?: (seq: number) => boolean;
  /** Unacknowledged messages at most; default 100. The broker's Receive Maximum bounds it too. */
  window?: number;
  /** Messages a second; default as fast as the window allows. */
  ratePerSecond?: number;
  /** Stop after so many. */
  count?: number;
  payloadBytes?: number;
}

/** A numbered stream of messages through one client, over all its connections. */
export class StreamPublisher {
  readonly log: SentLog;
  readonly #client: MqttClient;
  readonly #options: StreamOptions;
  #isStopped = false;
  #inflight = 0;
  #startedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #wantsPump = false;

  constructor(client: MqttClient, options: StreamOptions) {
    this.#client = client;
    this.#options = options;
    this.log = new SentLog(options.publisher);
  }

  /** Starts sending; while the client is away nothing new is sent. */
  start(): this {
    this.#startedAt = performance.now();
    // The tick paces a rate, and finds the end of an outage.
    // A test that failed does not wait for its streams.
    this.#timer = setInterval(() => this.#pump(), 5).unref();
    this.#pump();
    return this;
  }

  #pump(): void {
    const { window = 100, ratePerSecond, count = Number.POSITIVE_INFINITY } = this.#options;
    const due =
      ratePerSecond === undefined ? count : ((performance.now() - this.#startedAt) / 1000) * ratePerSecond;
    const bound = Math.min(window, this.#client.serverReceiveMaximum);
    while (!this.#isStopped && this.#client.isConnected && this.#inflight < bound) {
      if (this.log.sent >= Math.min(count, due)) break;
      this.#sendNext();
      // QoS 0 has no window: a burst a tick is bounded, or nothing else would ever run.
      if (ratePerSecond === undefined && this.log.sent % 1000 === 0) break;
    }
  }

  #sendNext(): void {
    const { publisher, topic, qos, retain, payloadBytes } = this.#options;
    const seq = this.log.sent;
    const options: PublishOptions = {
      qos: typeof qos === 'number' ? qos : qos(seq),
      retain: retain?.(seq) ?? false,
    };
    const name = typeof topic === 'string' ? topic : topic(seq);
    this.log.addSent(name, options.qos!);
    this.#inflight++;
    this.#client.publishThen(name, messagePayload(publisher, seq, payloadBytes), options, (outcome) => {
      this.#inflight--;
      // From 0x80 on the broker says that it did not take the message; but 0x92 answers a PUBREL that comes again.
      if (typeof outcome === 'number' && (outcome < 0x80 || outcome === 0x92)) this.log.addAcked(seq);
      this.#pumpSoon();
    });
  }

  #pumpSoon(): void {
    if (this.#wantsPump) return;
    this.#wantsPump = true;
    setImmediate(() => {
      this.#wantsPump = false;
      this.#pump();
    });
  }

  /** Sends nothing new and resolves when everything sent is acknowledged or given up. */
  async finish(withinMs = 30_000): Promise<SentLog> {
    this.#isStopped = true;
    await this.#settled(withinMs);
    return this.log;
  }

  /** Resolves when `count` messages were sent and are acknowledged or given up. */
  async completed(withinMs = 60_000): Promise<SentLog> {
    await eventually(
      `all of ${this.log.publisher} is sent`,
      () => this.log.sent >= (this.#options.count ?? 0),
      withinMs,
    );
    return this.finish(withinMs);
  }

  async #settled(withinMs: number): Promise<void> {
    await eventually(
      `all of ${this.log.publisher} is acknowledged`,
      () => this.#inflight === 0,
      withinMs,
    ).finally(() => clearInterval(this.#timer));
  }

  /** Stops at once, whatever is in flight. */
  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }
}
