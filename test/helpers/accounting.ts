// The figures of the drop accounting, summed over nodes: matched = delivered + waiting + dropped, as soon as nothing is
// under way.

import type { Test } from 'tap';
import { eventually } from './eventually.ts';
import type { SwarmqNode } from './swarmq-node.ts';

interface Figures {
  matched: number;
  delivered: number;
  dropped: number;
  queued: number;
  live: number;
}

export async function figures(nodes: SwarmqNode[]): Promise<Figures> {
  const sum = async (name: string) => {
    let total = 0;
    for (const node of nodes) total += (await node.metric(name)) ?? 0;
    return total;
  };
  return {
    matched: await sum('swarmq_messages_matched_total'),
    delivered: await sum('swarmq_messages_delivered_total'),
    dropped: await sum('swarmq_messages_dropped_total'),
    // Of the cluster: every node tells the same.
    queued: (await nodes[0]!.metric('swarmq_queue_messages')) ?? 0,
    live: await sum('swarmq_live_messages'),
  };
}

const isEven = ({ matched, delivered, dropped, queued, live }: Figures) =>
  matched === delivered + dropped + queued + live;

/** The equation holds as soon as nothing is under way. */
export async function balanced(t: Test, nodes: SwarmqNode[], what: string): Promise<Figures> {
  await eventually(what, async () => isEven(await figures(nodes))).catch(() => {});
  const last = await figures(nodes);
  t.ok(isEven(last), `${what}: ${JSON.stringify(last)}`);
  return last;
}

/** How many were dropped for this reason. */
export async function droppedBy(nodes: SwarmqNode[], reason: string): Promise<number> {
  let total = 0;
  for (const node of nodes) total += (await node.metric('swarmq_messages_dropped_total', `"${reason}"`)) ?? 0;
  return total;
}
