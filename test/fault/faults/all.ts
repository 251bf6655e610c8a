// The list of all faults, and the drawing of some of them for a round.

import type { Random } from '../../../src/util/random.ts';
import type { Topology } from '../topology.ts';
import { diskFaults } from './disk.ts';
import { failoverFaults } from './failover.ts';
import type { Fault } from './fault.ts';
import { linkFaults } from './links.ts';
import { nodeFaults } from './nodes.ts';
import { redisFaults } from './redis.ts';

export const FAULTS: readonly Fault[] = [
  ...nodeFaults,
  ...linkFaults,
  ...redisFaults,
  ...failoverFaults,
  ...diskFaults,
];

/** The faults with these names; a name that ends in "*" stands for all that begin so. Throws for one that is not known. */
export function faultsNamed(names: readonly string[]): Fault[] {
  return names.flatMap((name) => {
    const found = FAULTS.filter((fault) =>
      name.endsWith('*') ? fault.name.startsWith(name.slice(0, -1)) : fault.name === name,
    );
    if (found.length === 0) throw new Error(`no fault is named ${name}`);
    return found;
  });
}

/** Those that can be done to this topology: all default ones, or those of `chosen`. */
export function faultsFor(topology: Topology, chosen?: readonly Fault[]): Fault[] {
  const list = chosen ?? FAULTS.filter(({ isDefault }) => isDefault !== false);
  return list.filter((fault) => fault.topologies.includes(topology.kind) && (fault.fits?.(topology) ?? true));
}

/** Draws one by weight. */
export function drawFault(faults: readonly Fault[], random: Random): Fault {
  const total = faults.reduce((sum, { weight = 1 }) => sum + weight, 0);
  let left = random.below(total);
  for (const fault of faults) {
    left -= fault.weight ?? 1;
    if (left < 0) return fault;
  }
  throw new Error('there is no fault to draw');
}
