// The bars of the project as tests: exact figures are demanded only on a machine that is asked to prove them
// (SWARMQ_BARS=1, `npm run bars`); elsewhere the same tests run at a smaller scale, print what they measure, and fail only
// on wrong behaviour or at figures that no slow machine explains.

import type { Test } from 'tap';
import { eventually } from './eventually.ts';
import { awaitDelivery, percentile, type SentLog } from './history.ts';
import { MqttClient, type Qos } from './mqtt-client.ts';
import type { Owner } from './owner.ts';
import { StreamPublisher } from './roaming.ts';

/** Full scale and exact figures. */
export const isFullScale = process.env.SWARMQ_BARS === '1';

/** `full` when the bars are to be proven, else `short`. */
export function scale<T>(full: T, short: T): T {
  return isFullScale ? full : short;
}

/** For `t.setTimeout`: a whole file of bar tests, on a slow machine. */
export const PATIENCE_MS = scale(3_600_000, 300_000);

export interface Figure {
  measured: number;
  /** Must not be above it at full scale. */
  bar: number;
  /** Must not be above it anywhere. */
  sanity: number;
  unit?: string;
}

/** Prints a measured figure and asserts that it is good enough for where this runs. */
export function atMost(t: Test, what: string, { measured, bar, sanity, unit = 'ms' }: Figure): void {
  const limit = isFullScale ? bar : sanity;
  t.comment(`${what}: ${measured.toFixed(1)} ${unit} (bar ${bar} ${unit})`);
  t.ok(measured <= limit, `${what}: ${measured.toFixed(1)} is at most ${limit} ${unit}`);
}

/** Asserts that `ids` is empty; of a long list only the beginning is shown. */
export function none(t: Test, what: string, ids: string[]): void {
  const some = ids.length > 0 ? `: ${ids.length} (${ids.slice(0, 8).join(', ')})` : '';
  t.equal(ids.length, 0, `${what}${some}`);
}

/** Configuration for tests that let more wait for one session than a normal queue holds. */
export const WIDE_QUEUES = 'limits:\n  maxQueuedMessages: 5000000\n  maxQueuedBytes: 2GB\n';

export interface ProbeOptions {
  name: string;
  from: number;
  to: number;
  qos?: Qos;
  ratePerSecond?: number;
}

/** A bystander: a publisher and a clean subscriber that measure how long their own messages take. */
export class LatencyProbe {
  readonly #subscriber: MqttClient;
  readonly #publisher: MqttClient;
  readonly #options: ProbeOptions;
  #stream: StreamPublisher | undefined;
  #from = 0;

  constructor(owner: Owner, options: ProbeOptions) {
    this.#options = options;
    this.#subscriber = new MqttClient(owner, { clientId: `${options.name}-subscriber` });
    this.#publisher = new MqttClient(owner, { clientId: `${options.name}-publisher` });
    owner.teardown(() => this.#stream?.stop());
  }

  async start(): Promise<this> {
    const { name, from, to, qos = 1, ratePerSecond = 200 } = this.#options;
    await this.#subscriber.connect(to);
    await this.#publisher.connect(from);
    await this.#subscriber.subscribe(`probe/${name}`, qos);
    const options = { publisher: name, topic: `probe/${name}`, qos, ratePerSecond, window: 1000 };
    this.#stream = new StreamPublisher(this.#publisher, options).start();
    // The first messages meet code that nobody has run yet, on both sides.
    await eventually(`${name} is warm`, () => this.#subscriber.received.length > 100);
    this.#from = this.#subscriber.received.length;
    return this;
  }

  /** Latencies in milliseconds of the messages that came since the last call; those under way count as long as they wait. */
  take(): number[] {
    const { received } = this.#subscriber;
    const log = this.#stream!.log;
    const values: number[] = [];
    for (let index = this.#from; index < received.length; index++)
      values.push(received[index]!.at - log.sentAt[index]!);
    for (let seq = received.length; seq < log.sent; seq++) values.push(performance.now() - log.sentAt[seq]!);
    this.#from = received.length;
    return values;
  }

  async finish(t: Test): Promise<void> {
    const log = await this.#stream!.finish();
    const verdict = await awaitDelivery(this.#subscriber, [log]);
    none(t, 'lost by the bystander', verdict.lost);
  }
}

/** Latency from sending to receiving of all messages of `log` that `client` received from index `from` on. */
export function latencies(client: MqttClient, log: SentLog, from = 0): number[] {
  return client.received.slice(from).map((message) => {
    const text = message.payload.toString('latin1', 0, 80);
    return message.at - log.sentAt[Number(text.split(':')[1])]!;
  });
}

export function p99(values: number[]): number {
  return percentile(values, 0.99);
}
