// Leases of nodes, tombstones and the cleaning up after dead ones. These calls go beside the lanes: a renewal must not
// wait for a batch, nor for replicas.

import type { Lease, NodeName, Renewal } from '../store.ts';
import type { Keyspace } from './keyspace.ts';
import { inboxTag } from './keyspace.ts';
import { CLUSTER_SLOT } from './receiver-slot.ts';
import { asList, asNumber, asText, encodeCommand, type Reply } from './resp.ts';
import { defineScript } from './script.ts';
import type { SideCalls } from './side-calls.ts';
import { slotOf } from './slots.ts';

const RENEW = defineScript('renew-lease', ['leases'], ['history', 'incarnation', 'leaseMs', 'name']);
const BURY = defineScript('bury-node', ['leases'], ['history', 'incarnation', 'by', 'leaseMs']);
const RESIGN = defineScript('resign-node', ['leases'], ['incarnation']);
const LOCK_CLEANUP = defineScript('lock-cleanup', ['lock', 'leases'], ['by', 'holdMs']);
const REMOVE_NODE = defineScript('remove-node', ['leases', 'routes'], ['incarnation']);

export class Leases {
  readonly #side: SideCalls;
  readonly #keyspace: Keyspace;
  readonly #onTime: (storeMs: number) => void;
  /** Names of this process's incarnations, for a lease that the store has lost. */
  readonly #names = new Map<string, string>();

  constructor(side: SideCalls, keyspace: Keyspace, onTime: (storeMs: number) => void) {
    this.#side = side;
    this.#keyspace = keyspace;
    this.#onTime = onTime;
  }

  async register(incarnation: string, name: string, leaseMs: number): Promise<Renewal> {
    this.#names.set(incarnation, name);
    return this.renew(incarnation, leaseMs);
  }

  async renew(incarnation: string, leaseMs: number, others: readonly NodeName[] = []): Promise<Renewal> {
    const name = this.#names.get(incarnation) ?? incarnation;
    const pairs = others.flatMap((other) => [other.incarnation, other.name]);
    const reply = await this.#side.run(CLUSTER_SLOT, (history) =>
      RENEW.encode({ leases: this.#keyspace.leases }, { history, incarnation, leaseMs, name }, pairs),
    );
    const [now, lapsed, leases] = asList(reply);
    this.#onTime(asNumber(now));
    return { nowMs: asNumber(now), lapsed: lapsed === 1, leases: readLeases(asList(leases)) };
  }

  async bury(incarnation: string, by: string, leaseMs: number): Promise<'buried' | 'refused'> {
    const reply = await this.#side.run(CLUSTER_SLOT, (history) =>
      BURY.encode({ leases: this.#keyspace.leases }, { history, incarnation, by, leaseMs }),
    );
    return reply === 0 ? 'buried' : 'refused';
  }

  async resign(incarnation: string): Promise<void> {
    const command = RESIGN.encode({ leases: this.#keyspace.leases }, { incarnation });
    await this.#side.run(CLUSTER_SLOT, () => command);
  }

  async lockCleanup(incarnation: string, by: string, holdMs: number): Promise<boolean> {
    const keys = { lock: this.#keyspace.cleanupLock(incarnation), leases: this.#keyspace.leases };
    const command = LOCK_CLEANUP.encode(keys, { by, holdMs });
    return (await this.#side.run(CLUSTER_SLOT, () => command)) === 1;
  }

  /** Two steps, because the inbox has another slot: who dies in between leaves a node that is not cleaned yet. */
  async removeNode(incarnation: string): Promise<void> {
    const keyspace = this.#keyspace;
    const unlink = encodeCommand('UNLINK', keyspace.inboxState(incarnation), keyspace.inbox(incarnation));
    await this.#side.run(slotOf(inboxTag(incarnation)), () => unlink);
    const keys = { leases: keyspace.leases, routes: keyspace.nodeRoutes(incarnation) };
    const command = REMOVE_NODE.encode(keys, { incarnation });
    await this.#side.run(CLUSTER_SLOT, () => command);
  }
}

function readLeases(pairs: readonly Reply[]): Lease[] {
  const leases: Lease[] = [];
  for (let index = 0; index < pairs.length; index += 2) {
    // includes/lease-record.lua: created renewed deadline since dead cleaned history name
    const [created, renewed, deadline, , dead, cleaned, , ...name] = asText(pairs[index + 1]).split(' ');
    leases.push({
      incarnation: asText(pairs[index]),
      name: name.join(' '),
      createdAt: Number(created),
      renewedAt: Number(renewed),
      deadline: Number(deadline),
      deadAt: Number(dead),
      cleaned: cleaned === '1',
    });
  }
  return leases;
}
