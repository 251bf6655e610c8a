// What a fault of the laboratory is: a name, a line about it, what it needs for itself while it lasts, and a function that
// does it and undoes it. When that function returns, everything it touched is as it was.

import type { Random } from '../../../src/util/random.ts';
import { eventually } from '../../helpers/eventually.ts';
import type { FaultEvent } from '../history.ts';
import type { Durability, Member, Topology, TopologyKind } from '../topology.ts';

export interface FaultContext {
  readonly topology: Topology;
  readonly random: Random;
  /** The node that is this fault's own, where it needs one. */
  readonly member: Member;
  /** Prints a line under the name of the fault. */
  say(text: string): void;
  count(what: 'nodeKills' | 'redisFaults' | 'diskFaults', by?: number): void;
}

export interface Fault {
  readonly name: string;
  /** One line for people. */
  readonly about: string;
  readonly topologies: readonly TopologyKind[];
  readonly scope: FaultEvent['scope'];
  /**
   * What nothing else touches meanwhile: one node's process, one node's link to its clients or to Redis, all of Redis, or
   * all node processes.
   */
  readonly needs: 'node' | 'client-link' | 'redis-link' | 'redis' | 'nodes';
  /** How often it is drawn, against 1 of the others. */
  readonly weight?: number;
  /** False: only when it is asked for by name. */
  readonly isDefault?: boolean;
  /** Where it makes sense at all; default everywhere in its topologies. */
  fits?(topology: Topology): boolean;
  /** Milliseconds before its beginning from which on Redis itself may lose what was committed; null for nothing. */
  lossMs?(topology: Topology): number | null;
  run(context: FaultContext): Promise<void>;
}

export const WITH_NODES: readonly TopologyKind[] = ['standalone', 'sentinel', 'cluster', 'embedded'];
export const WITH_REDIS: readonly TopologyKind[] = ['standalone', 'sentinel', 'cluster'];

export const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A whole number from `low` to `high`, both included. */
export const between = (random: Random, low: number, high: number): number =>
  low + random.below(high - low + 1);

/**
 * From when on a Redis that is killed may lose commits: one that fsyncs every second postpones its write by up to two
 * seconds when the disk is behind, and loses what it had not written. One that never does writes before it answers.
 */
export function lossOfCrash(durability: Durability): number | null {
  if (durability === 'always' || durability === 'no') return null;
  return durability === 'none' ? Number.POSITIVE_INFINITY : 3000;
}

/** A failover loses what the replica had not received: nothing, where an acknowledgement waited for it. */
export function lossOfFailover(durability: Durability): number | null {
  return durability === 'replicas' ? null : 15_000;
}

/** Starts a node that has ended, again and again: a start may fail while Redis is away. */
export async function startAgain({ member, say }: FaultContext): Promise<void> {
  await eventually(
    `node ${member.name} starts`,
    async () => {
      if (member.node.isRunning) await member.node.sigkill();
      await member.node.start().catch((error: unknown) => {
        say(`${member.name} did not start: ${String(error).slice(0, 200)}`);
        throw error;
      });
      return true;
    },
    120_000,
  );
}
