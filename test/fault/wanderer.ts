// The life of one client of a crowd: it connects to some node, makes the subscriptions it wishes for, stays a while, goes
// in one of several ways, is away a while, and comes back to whichever node. What happens to it from outside it takes as
// it comes. It has no timer: the crowd ticks it.

import type { Random } from '../../src/util/random.ts';
import type { Owner } from '../helpers/owner.ts';
import type { History, Qos } from './history.ts';
import { RecordedClient, type RecordedOptions, type Subscribing } from './recorder.ts';

/** Ways to go, with weights. */
export interface Leaving {
  /** The socket is closed without DISCONNECT. */
  cut: number;
  disconnect: number;
  /** DISCONNECT that asks for the will (MQTT 5). */
  disconnectWithWill?: number;
  /** Another connection is made while the old one is open. */
  leave: number;
}

export type Range = readonly [from: number, to: number];

export interface WandererOptions extends RecordedOptions {
  /** Milliseconds connected, and away. */
  dwellMs: Range;
  awayMs: Range;
  leaving: Leaving;
  /** Of 1,000 arrivals of a client with a session, so many throw it away. */
  cleanStarts?: number;
  /** Subscriptions it begins with. */
  wishes?: readonly [filter: string, options: Subscribing][];
  /** What it may subscribe to and unsubscribe from on the way, and after how many milliseconds each. */
  pool?: readonly string[];
  actMs?: Range;
  /** At which QoS; any unless said. */
  actQos?: Qos;
  /** It is away when all come to rest. */
  endsAway?: boolean;
}

export interface Surroundings {
  owner: Owner;
  history: History;
  random: Random;
  /** MQTT ports of the nodes, also of some that do not run. */
  ports: () => number[];
}

/** No packet for so long (a ping goes every half of the keep-alive): the connection is dead. */
const DEAF_MS = 6000;
const KEEP_ALIVE_SECONDS = 4;

export class Wanderer {
  readonly recorded: RecordedClient;
  readonly options: WandererOptions;
  isSettling = false;
  /** It was connected and had all its subscriptions once. */
  hasComeOnce = false;
  readonly #ports: () => number[];
  readonly #random: Random;
  readonly #wishes: Map<string, Subscribing>;
  /** Filters that SUBACK has answered. */
  readonly #held = new Set<string>();
  #isBusy = false;
  #wasHere = false;
  /** A clean start was sent and not answered: it is sent again, so that nobody has to guess. */
  #owesClean = false;
  #goesAt = 0;
  #comesAt = 0;
  #actsAt = 0;

  constructor({ owner, history, random, ports }: Surroundings, options: WandererOptions) {
    const { dwellMs: _, awayMs: __, leaving: ___, wishes, pool: ____, ...rest } = options;
    this.recorded = new RecordedClient(owner, history, { ...rest, keepAliveSeconds: KEEP_ALIVE_SECONDS });
    this.options = options;
    this.#ports = ports;
    this.#random = random;
    this.#wishes = new Map(wishes ?? []);
  }

  /** Connected, and everything it wishes for is subscribed to. */
  get isHome(): boolean {
    const { isConnected } = this.recorded;
    return isConnected && !this.#isBusy && [...this.#wishes.keys()].every((filter) => this.#held.has(filter));
  }

  /** Not connected, and not about to be. */
  get isAway(): boolean {
    return !this.recorded.isConnected && !this.#isBusy;
  }

  get isPersistent(): boolean {
    return this.options.clean === false;
  }

  /** Does what is due. */
  tick(now: number): void {
    const { recorded } = this;
    if (recorded.client.isRetired) return;
    if (recorded.isConnected && now - recorded.heardAt > DEAF_MS) {
      // Also while an answer is awaited, which ends the waiting.
      recorded.cut();
      return;
    }
    if (this.#isBusy) return;
    if (!recorded.isConnected) {
      if (this.#wasHere) this.#lose(now);
      if (now >= this.#comesAt && !(this.isSettling && this.options.endsAway)) this.#do(() => this.#arrive());
    } else if (this.isSettling ? this.options.endsAway : now >= this.#goesAt) {
      this.#do(() => this.#go());
    } else if (!this.isHome || (now >= this.#actsAt && this.options.pool && !this.isSettling)) {
      this.#do(() => (this.isHome ? this.#act() : this.#subscribeAll()));
    }
  }

  /** Cuts the connection and comes back at once. */
  comeBack(): void {
    this.recorded.cut();
    this.#comesAt = 0;
    this.#wasHere = false;
  }

  #lose(now: number): void {
    this.#wasHere = false;
    // The connection was lost: back at once, as devices do.
    this.#comesAt = now + this.#random.below(50);
  }

  /** What fails by a lost connection is done again from the start. */
  #do(step: () => Promise<void>): void {
    this.#isBusy = true;
    step()
      .catch(() => {})
      .finally(() => {
        this.#isBusy = false;
      });
  }

  #between([from, to]: Range): number {
    return performance.now() + from + this.#random.below(Math.max(1, to - from));
  }

  async #arrive(): Promise<void> {
    const ports = this.#ports();
    const port = ports[this.#random.below(ports.length)];
    const isThrowing = !this.isSettling && this.#random.below(1000) < (this.options.cleanStarts ?? 0);
    const clean = !this.isPersistent || isThrowing || this.#owesClean;
    if (port === undefined) return;
    if (clean) this.#owesClean = true;
    if (!(await this.recorded.connect(port, clean)) || !this.recorded.isConnected) {
      this.#comesAt = performance.now() + 20 + this.#random.below(80);
      return;
    }
    this.#owesClean = false;
    this.#wasHere = true;
    // At MQTT 3.1 nobody is told of a session: such a client always subscribes anew.
    if (!this.recorded.client.connack?.sessionPresent) this.#held.clear();
    this.#goesAt = this.#between(this.options.dwellMs);
    this.#actsAt = this.#between(this.options.actMs ?? [1000, 3000]);
    await this.#subscribeAll();
    this.hasComeOnce = true;
  }

  async #subscribeAll(): Promise<void> {
    for (const [filter, options] of this.#wishes) {
      if (this.#held.has(filter)) continue;
      await this.recorded.subscribe(filter, options);
      this.#held.add(filter);
    }
  }

  /** Subscribes to something of the pool, or once more, or unsubscribes. */
  async #act(): Promise<void> {
    this.#actsAt = this.#between(this.options.actMs ?? [1000, 3000]);
    const pool = this.options.pool!;
    const filter = pool[this.#random.below(pool.length)]!;
    const isHeld = this.#wishes.has(filter);
    if (isHeld && this.#random.below(4) > 0) {
      this.#wishes.delete(filter);
      this.#held.delete(filter);
      await this.recorded.unsubscribe(filter);
      return;
    }
    const drawn = this.options.actQos ?? ((this.#random.below(5) % 3) as Qos);
    const qos = isHeld ? this.#wishes.get(filter)!.qos : drawn;
    this.#wishes.set(filter, { qos });
    this.#held.delete(filter);
    await this.#subscribeAll();
  }

  async #go(): Promise<void> {
    const { cut, disconnect, disconnectWithWill = 0, leave } = this.options.leaving;
    const draw = this.#random.below(cut + disconnect + disconnectWithWill + (this.isSettling ? 0 : leave));
    this.#wasHere = false;
    this.#comesAt = this.#between(this.options.awayMs);
    if (draw < cut) this.recorded.cut();
    else if (draw < cut + disconnect) await this.recorded.disconnect();
    else if (draw < cut + disconnect + disconnectWithWill) await this.recorded.disconnect(4);
    else {
      this.recorded.leave();
      this.#comesAt = 0;
    }
  }
}
