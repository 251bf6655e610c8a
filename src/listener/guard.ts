// Keeps strangers small: connections per listener and per source address, and the time and bytes that a connection may
// use before its CONNECT was accepted. An admission is one connection's place in these counts, from the accepted socket
// to its close. What is refused is counted by the limit's name. All that wait for their CONNECT share one timer: they may
// for equally long, so that they are due in the order of their coming. Invariant: every admission that was made leaves
// once, and the map of sources has an entry only for addresses that have a connection now.

import { isIPv4, isIPv6 } from 'node:net';
import type { LimitName } from '../observability/node-stats.ts';
import type { Clock, Timer } from '../util/clock.ts';

export type ListenerLimit = Extract<
  LimitName,
  'listener_connections' | 'connections_per_source' | 'connect_timeout' | 'pre_connect_bytes' | 'proxy_header'
>;

export interface GuardLimits {
  /** Connections of the listener at a time. */
  maxConnections: number;
  /** Connections from one source at a time: an IPv4 address, or the first 64 bits of an IPv6 one. */
  maxConnectionsPerSource: number;
  /** From the accepted socket to `established`; PROXY header, TLS and WebSocket handshakes included. */
  connectTimeoutMs: number;
  /** Bytes before `established`, PROXY header included, TLS and HTTP not. */
  preConnectMaxBytes: number;
}

export class Guard {
  readonly limits: GuardLimits;
  readonly #clock: Clock;
  readonly #onRefused: (limit: ListenerLimit) => void;
  readonly #bySource = new Map<string, number>();
  /** Admissions that are not established, those that came first in front. */
  readonly #waiting = new Set<Admission>();
  #timer: Timer | null = null;
  #count = 0;

  constructor(limits: GuardLimits, clock: Clock, onRefused: (limit: ListenerLimit) => void) {
    this.limits = limits;
    this.#clock = clock;
    this.#onRefused = onRefused;
  }

  /** Connections at the moment. */
  get connections(): number {
    return this.#count;
  }

  /** Addresses that have a connection at the moment. */
  get sources(): number {
    return this.#bySource.size;
  }

  /** A place for a new connection, or null where the listener is full. `onExpired` is to close the socket. */
  admit(onExpired: () => void): Admission | null {
    if (this.#count >= this.limits.maxConnections) {
      this.refuse('listener_connections');
      return null;
    }
    this.#count++;
    const dueMs = this.#clock.monotonicMs() + this.limits.connectTimeoutMs;
    const admission = new Admission(this, dueMs, onExpired);
    this.#waiting.add(admission);
    this.#arm(this.limits.connectTimeoutMs);
    return admission;
  }

  /** It waits no longer. */
  forget(admission: Admission): void {
    this.#waiting.delete(admission);
  }

  #arm(delayMs: number): void {
    this.#timer ??= this.#clock.after(delayMs, () => this.#expireDue());
  }

  #expireDue(): void {
    this.#timer = null;
    const nowMs = this.#clock.monotonicMs();
    for (const admission of this.#waiting) {
      if (admission.dueMs > nowMs) {
        this.#arm(admission.dueMs - nowMs);
        return;
      }
      admission.expire('connect_timeout');
    }
  }

  refuse(limit: ListenerLimit): void {
    this.#onRefused(limit);
  }

  enterSource(source: string): boolean {
    const count = this.#bySource.get(source) ?? 0;
    if (count >= this.limits.maxConnectionsPerSource) return false;
    this.#bySource.set(source, count + 1);
    return true;
  }

  leave(source: string | null): void {
    this.#count--;
    if (source === null) return;
    const count = this.#bySource.get(source) ?? 1;
    if (count > 1) this.#bySource.set(source, count - 1);
    else this.#bySource.delete(source);
  }
}

/** One connection's place. Made by Guard.admit. */
export class Admission {
  readonly #guard: Guard;
  readonly #onExpired: () => void;
  /** Of the monotonic clock: when it is to be established. */
  readonly dueMs: number;
  #isWaiting = true;
  #source: string | null = null;
  #bytes = 0;
  #hasLeft = false;

  constructor(guard: Guard, dueMs: number, onExpired: () => void) {
    this.#guard = guard;
    this.#onExpired = onExpired;
    this.dueMs = dueMs;
  }

  get isEstablished(): boolean {
    return !this.#isWaiting;
  }

  /** Counts the connection for its client's address, known at once or from a PROXY header. False: refused, close it. */
  claimSource(address: string): boolean {
    const source = sourceOf(address);
    if (!this.#guard.enterSource(source)) {
      this.#guard.refuse('connections_per_source');
      return false;
    }
    this.#source = source;
    return true;
  }

  /** Counts bytes that came in before `established`; beyond the limit the connection is closed and false answered. */
  spend(bytes: number): boolean {
    if (!this.#isWaiting) return true;
    this.#bytes += bytes;
    if (this.#bytes <= this.#guard.limits.preConnectMaxBytes) return true;
    this.expire('pre_connect_bytes');
    return false;
  }

  established(): void {
    if (!this.#isWaiting) return;
    this.#isWaiting = false;
    this.#guard.forget(this);
  }

  /** Gives the place back; harmless when it was before. */
  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.established();
    this.#guard.leave(this.#source);
  }

  /** Refuses it, unless it is established. */
  expire(limit: ListenerLimit): void {
    if (!this.#isWaiting) return;
    this.established();
    this.#guard.refuse(limit);
    this.#onExpired();
  }
}

/** What counts as one source: whoever has one IPv6 address has 2^64 of them. */
export function sourceOf(address: string): string {
  if (isIPv4(address) || !isIPv6(address)) return address;
  const [head, tail] = address.split('%')[0].split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const rest = tail === '' ? [] : tail.split(':');
    while (groups.length + rest.length < 8) groups.push('0');
    groups.push(...rest);
  }
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

/** IPv4 in IPv6 (`::ffff:10.0.0.1`), as a socket on `::` names it, becomes plain IPv4. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && isIPv4(address.slice(7)) ? address.slice(7) : address;
}
