// Nodes that stop by themselves at a named point of the code (src/util/stop-point.ts), dead or frozen.

import { readFileSync } from 'node:fs';
import type { StopPoint } from '../../src/util/stop-point.ts';
import { eventually } from './eventually.ts';
import type { Owner } from './owner.ts';
import { type NodeOptions, type SwarmqNode, startNode } from './swarmq-node.ts';

export interface Stop {
  point: StopPoint;
  /** At which passing since the node was ready; default the first. */
  nth?: number;
  /** 'kill' (default) is SIGKILL, 'pause' SIGSTOP. */
  action?: 'kill' | 'pause';
}

/** Starts a node that stops where `stop` says. */
export function startStoppingNode(owner: Owner, stop: Stop, options: NodeOptions): Promise<SwarmqNode> {
  const { point, nth = 1, action = 'kill' } = stop;
  const env = { ...options.env, SWARMQ_TEST_STOP_AT: `${point}:${nth}:${action}` };
  return startNode(owner, { ...options, env });
}

/** Resolves when the node has stopped by SIGSTOP. */
export async function frozen(node: SwarmqNode): Promise<void> {
  await eventually(`node ${node.name} is frozen`, () => {
    const stat = readFileSync(`/proc/${node.pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  });
}
