// The table of shared subscriptions as a test needs it: round-robin unless it says otherwise, a seeded random source and a
// clock that stands still.

import type { GroupStrategy } from '../../src/config/schema.ts';
import { SharedGroups, type SharedGroupsOptions } from '../../src/routing/shared-groups.ts';
import { seededRandom } from '../../src/util/random.ts';

export function groupsOf(
  selfIncarnation: string,
  strategy: GroupStrategy = 'round-robin',
  monotonicMs: () => number = () => 0,
  more: Partial<SharedGroupsOptions> = {},
): SharedGroups {
  return new SharedGroups({
    selfIncarnation,
    random: seededRandom(1),
    strategyOf: () => strategy,
    monotonicMs,
    loadHere: () => -1,
    keysMax: 20_000,
    onKeysForgotten: () => {},
    onKeyNews: () => {},
    ...more,
  });
}
