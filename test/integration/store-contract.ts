// The contract suite of a store: one set of cases that both implementations must pass, each against a world that the
// implementation's own test file opens. The cases speak only the contract of src/store/{store,operations}.ts; a rule
// that a case needs and that the comments there leave open is written down at the case.

import t from 'tap';
import { deadOwnerCases } from './store-contract-dead-owners.ts';
import { durabilityCases } from './store-contract-durability.ts';
import { groupCases } from './store-contract-groups.ts';
import { lateCases } from './store-contract-late.ts';
import { markCases } from './store-contract-marks.ts';
import { nodeCases } from './store-contract-nodes.ts';
import { pushCases } from './store-contract-pushes.ts';
import { queueCases } from './store-contract-queue.ts';
import { retainedCases } from './store-contract-retained.ts';
import { sessionCases } from './store-contract-sessions.ts';
import { willCases } from './store-contract-wills.ts';
import type { OpenWorld } from './store-world.ts';

export type { ContractWorld, OpenWorld } from './store-world.ts';

/**
 * Runs every case of the contract against worlds made by `open`; `name` stands in front of the cases' names. `pushes`: the
 * store puts what it queues into the inbox of its owner where it may.
 */
export function storeContract(name: string, open: OpenWorld, pushes: boolean): void {
  t.test(`${name}: sessions`, (t) => sessionCases(t, open));
  t.test(`${name}: CONNECTs that had to wait`, (t) => lateCases(t, open));
  t.test(`${name}: sessions of dead nodes`, (t) => deadOwnerCases(t, open));
  t.test(`${name}: restart`, (t) => durabilityCases(t, open));
  t.test(`${name}: queues`, (t) => queueCases(t, open));
  t.test(`${name}: marks`, (t) => markCases(t, open));
  t.test(`${name}: messages put into their owners' inboxes`, (t) => pushCases(t, open, pushes));
  t.test(`${name}: groups of shared subscriptions`, (t) => groupCases(t, open));
  t.test(`${name}: wills and deadlines`, (t) => willCases(t, open));
  t.test(`${name}: retained messages and shared payloads`, (t) => retainedCases(t, open));
  t.test(`${name}: log, nodes and inboxes`, (t) => nodeCases(t, open));
}
