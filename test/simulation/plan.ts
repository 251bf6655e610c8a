// A run as a list of commands, made from a seed before it begins: who connects, subscribes, publishes and leaves when, and
// what the world does to the nodes. A list can be cut down, so that a failure is told by few commands.

import { type Random, seededRandom } from '../../src/util/random.ts';
import { NEVER, type SubscriptionWish } from './call.ts';
import { LANES } from './world.ts';

export interface DevicePlan {
  readonly id: string;
  readonly version: 4 | 5;
  readonly expirySec: number;
  readonly receiveMaximum: number;
}

export type Command =
  | {
      readonly kind: 'connect';
      readonly device: string;
      readonly node: number;
      readonly cleanStart: boolean;
      readonly leaveOpen: boolean;
      readonly will: { qos: 0 | 1 | 2; retain: boolean; delaySec: number } | null;
    }
  | {
      readonly kind: 'drop';
      readonly device: string;
      readonly isSilent: boolean;
      readonly isForGood: boolean;
    }
  | { readonly kind: 'disconnect'; readonly device: string; readonly keepsWill: boolean }
  | { readonly kind: 'subscribe'; readonly device: string; readonly wishes: readonly SubscriptionWish[] }
  | { readonly kind: 'unsubscribe'; readonly device: string; readonly filters: readonly string[] }
  | {
      readonly kind: 'publish';
      readonly device: string;
      readonly topic: string;
      readonly qos: 0 | 1 | 2;
      readonly retain: boolean;
      readonly isEmpty: boolean;
      readonly expirySec: number;
      readonly count: number;
      readonly bytes: number;
    }
  | { readonly kind: 'mute'; readonly device: string; readonly forMs: number }
  | { readonly kind: 'kill' | 'restart' | 'stop'; readonly node: number }
  | {
      readonly kind: 'freeze' | 'cut' | 'hold-log' | 'hold-inbox';
      readonly node: number;
      readonly forMs: number;
    }
  | { readonly kind: 'pause'; readonly forMs: number }
  | { readonly kind: 'stand'; readonly lane: number; readonly forMs: number }
  | { readonly kind: 'lose-tail'; readonly batches: number }
  | { readonly kind: 'clock'; readonly node: number; readonly offsetMs: number };

export type TimedCommand = Command & { readonly atMs: number };

export interface Plan {
  readonly seed: number;
  readonly nodes: number;
  readonly devices: readonly DevicePlan[];
  readonly commands: readonly TimedCommand[];
  readonly durationMs: number;
}

const FILTERS = ['a/x', 'a/y', 'a/#', '+/x', 'b/+', '#', 'r/#', 'r/+', 'b/x'];
const TOPICS = ['a/x', 'a/y', 'b/x', 'b/y'];
const DELAYS_SEC = [0, 0, 1, 3, 8];
const LEASE_MS = 3000;

/** The device that sees all wills: never reset, always back. */
export const WITNESS = 'w';

export function makePlan(seed: number): Plan {
  return new Planner(seed).plan();
}

class Planner {
  readonly #seed: number;
  readonly #random: Random;
  readonly #nodes: number;
  readonly #devices: DevicePlan[] = [];
  readonly #commands: TimedCommand[] = [];
  readonly #durationMs: number;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seededRandom(Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995);
    this.#nodes = 2 + this.#below(2);
    this.#durationMs = 8000 + this.#below(9000);
  }

  plan(): Plan {
    const count = 3 + this.#below(4);
    for (let index = 0; index < count; index++) this.#devices.push(this.#device(`d${index + 1}`));
    this.#devices.push({ id: WITNESS, version: 5, expirySec: NEVER, receiveMaximum: 65_535 });
    this.#begin();
    const actions = 30 + this.#below(50);
    for (let left = actions; left > 0; left--) this.#action(this.#below(this.#durationMs));
    const faults = this.#below(8) === 0 ? 0 : 1 + this.#below(6);
    for (let left = faults; left > 0; left--) this.#fault(500 + this.#below(this.#durationMs - 500));
    const commands = this.#commands.sort((one, other) => one.atMs - other.atMs);
    return {
      seed: this.#seed,
      nodes: this.#nodes,
      devices: this.#devices,
      commands,
      durationMs: this.#durationMs,
    };
  }

  #below(limit: number): number {
    return this.#random.below(limit);
  }

  #one<T>(list: readonly T[]): T {
    return list[this.#below(list.length)]!;
  }

  #add(atMs: number, command: Command): void {
    this.#commands.push({ ...command, atMs });
  }

  #device(id: string): DevicePlan {
    const version = this.#below(3) === 0 ? 4 : 5;
    const expirySec = this.#one(version === 4 ? [NEVER, NEVER, 0] : [NEVER, NEVER, 20, 20, 0]);
    return { id, version, expirySec, receiveMaximum: this.#one([65_535, 65_535, 4, 1]) };
  }

  /** All connect and most subscribe before the first fault. */
  #begin(): void {
    this.#add(0, { ...this.#connect(WITNESS), cleanStart: false, will: null });
    this.#add(150, { kind: 'subscribe', device: WITNESS, wishes: [this.#wish('w/+', 2)] });
    for (const { id } of this.#devices) {
      if (id === WITNESS) continue;
      this.#add(this.#below(300), this.#connect(id));
      if (this.#below(4) > 0) this.#add(300 + this.#below(300), this.#subscribe(id));
    }
  }

  #connect(device: string): Command & { kind: 'connect' } {
    const { version, expirySec } = this.#devices.find(({ id }) => id === device)!;
    const canReset = version === 5 || expirySec === 0;
    return {
      kind: 'connect',
      device,
      node: this.#below(this.#nodes),
      cleanStart: canReset && this.#below(6) === 0,
      leaveOpen: this.#below(3) === 0,
      will:
        this.#below(2) === 0
          ? {
              qos: this.#one([2, 2, 1]),
              retain: this.#below(4) === 0,
              delaySec: version === 5 ? this.#one(DELAYS_SEC) : 0,
            }
          : null,
    };
  }

  #wish(filter: string, qos: 0 | 1 | 2): SubscriptionWish {
    return { filter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 };
  }

  #subscribe(device: string): Command {
    const count = 1 + this.#below(3);
    const filters = new Set<string>();
    while (filters.size < count) filters.add(this.#one(FILTERS));
    const wishes = [...filters].map((filter) => ({
      filter,
      qos: this.#one([0, 1, 1, 2, 2] as const),
      noLocal: this.#below(8) === 0 && this.#isFive(device),
      retainAsPublished: this.#below(8) === 0 && this.#isFive(device),
      retainHandling: (this.#isFive(device) ? this.#one([0, 0, 0, 1, 2]) : 0) as 0 | 1 | 2,
    }));
    return { kind: 'subscribe', device, wishes };
  }

  #isFive(device: string): boolean {
    return this.#devices.find(({ id }) => id === device)!.version === 5;
  }

  #publish(device: string): Command {
    // Each retained topic has one publisher and one QoS, so that what comes last is known.
    const number = Number(device.slice(1));
    const isRetained = this.#below(3) === 0;
    return {
      kind: 'publish',
      device,
      topic: isRetained ? `r/${number}` : this.#one(TOPICS),
      qos: isRetained ? ((1 + (number % 2)) as 1 | 2) : this.#one([0, 1, 1, 2, 2] as const),
      retain: isRetained,
      isEmpty: isRetained && this.#below(10) === 0,
      expirySec: !isRetained && this.#below(10) === 0 ? this.#one([1, 4]) : 0,
      count: this.#one([1, 1, 2, 5, 12]),
      bytes: this.#one([10, 10, 40, 400]),
    };
  }

  #action(atMs: number): void {
    const device = this.#one(this.#devices).id;
    const choice = this.#below(100);
    if (device === WITNESS) {
      if (choice < 30) this.#add(atMs, { ...this.#connect(device), cleanStart: false, will: null });
      else if (choice < 40) this.#add(atMs, { kind: 'drop', device, isSilent: false, isForGood: false });
      return;
    }
    if (choice < 50) this.#add(atMs, this.#publish(device));
    else if (choice < 64) this.#add(atMs, this.#connect(device));
    else if (choice < 76) this.#add(atMs, this.#subscribe(device));
    else if (choice < 82) {
      const filters = [this.#one(FILTERS), this.#one(FILTERS)];
      this.#add(atMs, { kind: 'unsubscribe', device, filters: [...new Set(filters)] });
    } else if (choice < 90) {
      const isForGood = this.#below(4) === 0;
      this.#add(atMs, { kind: 'drop', device, isSilent: this.#below(4) === 0, isForGood });
    } else if (choice < 95) {
      this.#add(atMs, { kind: 'disconnect', device, keepsWill: this.#below(3) === 0 });
    } else this.#add(atMs, { kind: 'mute', device, forMs: 100 + this.#below(4000) });
  }

  #fault(atMs: number): void {
    const node = this.#below(this.#nodes);
    const shortMs = 20 + this.#below(1500);
    const longMs = LEASE_MS + this.#below(3 * LEASE_MS);
    const choice = this.#below(100);
    if (choice < 28) {
      this.#add(atMs, { kind: 'kill', node });
      this.#add(atMs + this.#one([50, 1000, 5000, 9000]), { kind: 'restart', node });
    } else if (choice < 46) this.#add(atMs, { kind: 'freeze', node, forMs: this.#one([shortMs, longMs]) });
    else if (choice < 60)
      this.#add(atMs, { kind: 'cut', node, forMs: this.#one([shortMs, shortMs, longMs]) });
    else if (choice < 70) this.#add(atMs, { kind: 'hold-log', node, forMs: this.#one([shortMs, longMs]) });
    else if (choice < 78) this.#add(atMs, { kind: 'hold-inbox', node, forMs: this.#one([shortMs, longMs]) });
    else if (choice < 86) this.#add(atMs, { kind: 'pause', forMs: this.#one([shortMs, 3 * LEASE_MS]) });
    else if (choice < 89)
      this.#add(atMs, {
        kind: 'stand',
        lane: 1 + this.#below(LANES - 1),
        forMs: this.#one([shortMs, longMs]),
      });
    else if (choice < 92) this.#add(atMs, { kind: 'lose-tail', batches: 1 + this.#below(12) });
    else if (choice < 95) {
      this.#add(atMs, { kind: 'stop', node });
      this.#add(atMs + 1000 + this.#below(4000), { kind: 'restart', node });
    } else {
      const offsetMs = (this.#below(2) === 0 ? -1 : 1) * this.#below(300_000);
      this.#add(atMs, { kind: 'clock', node, offsetMs });
    }
  }
}
