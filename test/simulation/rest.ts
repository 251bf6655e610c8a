// What has to be true of nodes and store when a run has come to rest: nothing is left over, nothing is claimed twice, and
// the routing table of every node says what the records say. The one place of the simulation that looks inside.

import { topicMatches } from '../../src/mqtt/topic.ts';
import { decodeRow } from '../../src/store/records.ts';
import type { Cluster } from './cluster.ts';

const TOPICS = ['a/x', 'a/y', 'b/x', 'b/y', 'r/1', 'r/2', 'w/d1', 'other'];

export function checkRest(cluster: Cluster): string[] {
  return [
    ...checkOwners(cluster),
    ...checkDead(cluster),
    ...checkLeftovers(cluster),
    ...checkTables(cluster),
  ];
}

/** At most one live connection per client id, and the store agrees on whose it is. */
function checkOwners({ nodes, store }: Cluster): string[] {
  const breaches: string[] = [];
  const holders = new Map<string, string>();
  for (const { name, incarnation } of nodes) {
    if (incarnation === null) continue;
    for (const session of incarnation.sessions.all()) {
      const { clientId, epoch } = session;
      const other = holders.get(clientId);
      if (other !== undefined) breaches.push(`${clientId} is connected to ${other} and to ${name}`);
      holders.set(clientId, name);
      const stored = store.world.state.sessions.get(clientId);
      if (stored?.incarnation !== incarnation.id || stored.epoch !== epoch) {
        breaches.push(`${name} serves ${clientId}, which it does not hold`);
      }
    }
  }
  return breaches;
}

/** Dead nodes hold nothing any more. */
function checkDead({ store }: Cluster): string[] {
  const { state } = store.world;
  const breaches: string[] = [];
  for (const { incarnation, name, deadAt, cleaned } of state.leases.list()) {
    if (deadAt === 0) continue;
    if (!cleaned) breaches.push(`the dead ${name} (${incarnation}) is not cleaned up`);
    const held = state.sessions.page(incarnation, '').clientIds;
    if (held.length > 0) breaches.push(`the dead ${incarnation} holds ${held.join(' ')}`);
    if (state.inboxes.has(incarnation)) breaches.push(`the dead ${incarnation} has an inbox`);
    if (state.log.readRoutes(incarnation, '').routes.length > 0)
      breaches.push(`the dead ${incarnation} has routes`);
  }
  return breaches;
}

function checkLeftovers({ nodes, store, faultsMs }: Cluster): string[] {
  const { state } = store.world;
  const breaches: string[] = [];
  if (state.wills.size > 0) breaches.push(`${state.wills.size} taken wills are left`);
  // What a node stored and died with, and what was acknowledged in a call whose answer was lost, stays until its deadline.
  const isCalm = faultsMs.length === 0;
  if (isCalm && state.totals().queuedMessages === 0 && state.payloads.size > 0) {
    breaches.push(`${state.payloads.size} shared payloads are left and no queue has messages`);
  }
  for (const { name, stats, store: own, isServing } of nodes) {
    if (!isServing) {
      breaches.push(`${name} does not serve`);
      continue;
    }
    if (stats.uncommittedMessages !== 0)
      breaches.push(`${name} counts ${stats.uncommittedMessages} uncommitted`);
    if (stats.connectionsHeld !== 0)
      breaches.push(`${name} counts ${stats.connectionsHeld} held connections`);
    // A renewal or a sweep may be under way at any time.
    if ((own?.lanePending(0) ?? 0) > 12)
      breaches.push(`${name} has ${own?.lanePending(0)} operations waiting`);
  }
  return breaches;
}

/** The tables of all nodes equal the records. */
function checkTables(cluster: Cluster): string[] {
  const breaches: string[] = [];
  const { state } = cluster.store.world;
  const isCalm = state.leases.list().every(({ deadAt }) => deadAt === 0);
  // Its node died before the log told of it: told again by the next claim.
  const isPending = (clientId: string): boolean => state.sessions.get(clientId)?.rowPending === true;
  const rows = state.rows.read('').rows.map(({ clientId, row }) => ({ clientId, row: decodeRow(row) }));
  for (const { name, incarnation } of cluster.nodes) {
    if (incarnation === null) continue;
    for (const topic of TOPICS) {
      const match = incarnation.router.match(topic);
      // A life that ended while its node died may be known until the first message to it: the store refuses that.
      const found = match.sessions
        .filter(({ clientId, life }) => isCalm || state.sessions.get(clientId)?.life === life)
        .filter(({ clientId }) => !isPending(clientId))
        .map((one) => `${one.clientId}/${one.life}`)
        .sort();
      const expected = rows
        .filter(({ clientId, row }) => row.persistent && !isPending(clientId))
        .filter(({ row }) => row.subscriptions.some((one) => one.qos > 0 && topicMatches(one.filter, topic)))
        .map(({ clientId, row }) => `${clientId}/${row.life}`)
        .sort();
      if (found.join() !== expected.join()) {
        breaches.push(
          `${name} routes ${topic} to [${found.join(' ')}], the records say [${expected.join(' ')}]`,
        );
      }
      const wantedAll = wantingNodes(cluster, topic, incarnation.id);
      if ([...match.nodesAll].sort().join() !== wantedAll.join()) {
        breaches.push(
          `${name} sends ${topic} to [${match.nodesAll.join(' ')}], wanted by [${wantedAll.join(' ')}]`,
        );
      }
    }
  }
  return breaches;
}

/** Other nodes with a live receiver: a QoS 0 subscription, or any of a session that ends with its connection. */
function wantingNodes({ nodes }: Cluster, topic: string, self: string): string[] {
  const wanting: string[] = [];
  for (const { incarnation } of nodes) {
    if (incarnation === null || incarnation.id === self) continue;
    const isWanting = [...incarnation.sessions.all()].some((session) =>
      [...session.subscriptions()].some(
        (one) => (one.qos === 0 || !session.persistent) && topicMatches(one.filter, topic),
      ),
    );
    if (isWanting) wanting.push(incarnation.id);
  }
  return wanting.sort();
}
