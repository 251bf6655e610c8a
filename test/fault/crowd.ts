// Many recorded clients at once, of every kind that a broker meets: publishers at a rate, subscribers that stay, roam, take
// over and change their minds, readers of retained values, clients with wills, short sessions and short messages. What
// each does comes from one seed; when, from the run. It ends in a rest in which everything that is due has come.

import { type Random, seededRandom } from '../../src/util/random.ts';
import { eventually } from '../helpers/eventually.ts';
import type { Owner } from '../helpers/owner.ts';
import { check } from './checker.ts';
import { type CrowdProfile, DEFAULT_PROFILE, type Publisher, peopleOf } from './crowd-people.ts';
import type { History } from './history.ts';
import { Wanderer } from './wanderer.ts';

export interface CrowdOptions {
  random: Random;
  /** MQTT ports of the nodes at this moment; one that does not run is tried in vain. */
  ports: () => number[];
  history: History;
  profile?: Partial<CrowdProfile>;
}

const TICK_MS = 20;
/** The clients' own process did not run for longer than this: told in the history, since it makes everything late. */
const STALL_MS = 250;

export class Crowd {
  readonly #history: History;
  readonly #random: Random;
  readonly #profile: CrowdProfile;
  readonly #publishers: Publisher[];
  readonly #wanderers: Wanderer[];
  readonly #ports: () => number[];
  #timer: NodeJS.Timeout | undefined;
  #tickedAt = 0;
  #owed = 0;
  #isPublishing = true;
  #published = 0;

  constructor(owner: Owner, { random, ports, history, profile }: CrowdOptions) {
    this.#history = history;
    this.#random = random;
    this.#ports = ports;
    this.#profile = { ...DEFAULT_PROFILE, ...profile };
    const people = peopleOf(this.#profile, random);
    // Each has chance of its own, so that what one meets does not change what another one does.
    const wanderer = (options: ConstructorParameters<typeof Wanderer>[1]) =>
      new Wanderer(
        { owner, history, ports: () => this.#ports(), random: seededRandom(random.below(2 ** 32)) },
        options,
      );
    this.#publishers = people.publishers.map((plan) => ({ plan, wanderer: wanderer(plan.client) }));
    this.#wanderers = [
      ...this.#publishers.map((one) => one.wanderer),
      ...people.others.map((options) => wanderer(options)),
    ];
    owner.teardown(() => clearInterval(this.#timer));
  }

  /** Messages sent, deliveries, and CONNECTs so far. */
  get figures(): { published: number; delivered: number; connections: number } {
    let delivered = 0;
    let connections = 0;
    for (const { recorded } of this.#wanderers) {
      delivered += recorded.delivered;
      connections += recorded.client.connections.length;
    }
    return { published: this.#published, delivered, connections };
  }

  /** All come, and publish as soon as they are there. */
  start(): this {
    this.#tickedAt = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    return this;
  }

  /** Resolves when everybody has come once, and had all subscriptions. */
  async gathered(withinMs = 30_000): Promise<void> {
    await eventually(
      'all have come',
      () => this.#wanderers.every(({ hasComeOnce }) => hasComeOnce),
      withinMs,
    );
  }

  /** Nothing new is published until `resume`. */
  pause(): void {
    this.#isPublishing = false;
  }

  resume(): void {
    this.#isPublishing = true;
  }

  #tick(): void {
    const now = performance.now();
    const sinceMs = now - this.#tickedAt;
    if (sinceMs > STALL_MS) {
      const fault = { kind: 'fault', what: 'stall', scope: 'recorder', port: null, lossFrom: null } as const;
      this.#history.add({ ...fault, at: this.#tickedAt, phase: 'begin' });
      this.#history.add({ ...fault, at: now, phase: 'end' });
    }
    this.#tickedAt = now;
    for (const wanderer of this.#wanderers) wanderer.tick(now);
    this.#owed = Math.min(this.#owed + (sinceMs / 1000) * this.#profile.ratePerSecond, 200);
    if (!this.#isPublishing) this.#owed = 0;
    for (; this.#owed >= 1; this.#owed--) this.#publishOne();
  }

  #publishOne(): void {
    const { plan, wanderer } = this.#publishers[this.#random.below(this.#publishers.length)]!;
    const { recorded } = wanderer;
    const { topic, options } = plan.next();
    if (!recorded.isConnected || recorded.unfinished >= plan.window) return;
    this.#published++;
    recorded.publish(topic, options);
  }

  /**
   * Ends the run: nothing more is published; what was is acknowledged or given up; all come to rest, half of them on a new
   * connection; and what the checker misses is waited for, with `missingMs` only so long, and not at all when something
   * else is broken already. Throws when publishers or subscribers do not come to rest within `withinMs`; what is missing
   * then is the checker's to tell.
   */
  async finish(withinMs: number, missingMs = Infinity): Promise<void> {
    const deadline = performance.now() + withinMs;
    const left = () => Math.max(1, deadline - performance.now());
    this.pause();
    for (const wanderer of this.#wanderers) wanderer.isSettling = true;
    const resting = this.#wanderers.filter(({ options }) => !options.endsAway);
    const restless = () =>
      this.#wanderers.filter((one) => !this.#isAtRest(one)).map((one) => one.recorded.name);
    await eventually(
      'all is acknowledged',
      () => {
        const names = restless();
        if (names.length > 0) throw new Error(names.join(' '));
        return true;
      },
      left(),
    );
    for (const [index, wanderer] of resting.entries()) if (index % 2 === 0) wanderer.comeBack();
    await eventually('all are back', () => restless().length === 0, left());
    const enoughAt = Math.min(deadline, performance.now() + missingMs);
    for (;;) {
      await this.#quiet(left());
      for (const { recorded } of resting) recorded.rest();
      const breaches = check(this.#history);
      // What did not happen has no time.
      const missing = breaches.filter(({ at }) => Number.isNaN(at));
      if (missing.length === 0 || performance.now() > enoughAt) return;
      if (missingMs < Infinity && missing.length < breaches.length) return;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  #isAtRest({ isHome, isAway, recorded, options }: Wanderer): boolean {
    return options.endsAway ? isAway : isHome && recorded.unfinished === 0;
  }

  /** Resolves when nothing came for half a second. */
  async #quiet(withinMs: number): Promise<void> {
    let seen = -1;
    let since = performance.now();
    const deadline = since + withinMs;
    while (performance.now() - since < 500 && performance.now() < deadline) {
      const { delivered } = this.figures;
      if (delivered !== seen) since = performance.now();
      seen = delivered;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
