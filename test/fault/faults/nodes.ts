// Faults of node processes: killed, frozen, stopped and started, all in a row, ended or frozen between two given steps of
// their work, and with a wall clock that jumps.

import { readFileSync } from 'node:fs';
import { STOP_POINTS, type StopPoint } from '../../../src/util/stop-point.ts';
import { eventually } from '../../helpers/eventually.ts';
import { between, type Fault, type FaultContext, pause, startAgain, WITH_NODES } from './fault.ts';

const MINUTE_MS = 60_000;

async function killOnce(context: FaultContext): Promise<void> {
  const { member, random, count, say } = context;
  await member.node.sigkill();
  count('nodeKills');
  // Mostly at once; sometimes so late that the others have buried it.
  const awayMs = random.below(4) === 0 ? between(random, 3000, 7000) : between(random, 0, 800);
  say(`${member.name} killed, away for ${awayMs} ms`);
  await pause(awayMs);
  await startAgain(context);
}

const kill: Fault = {
  name: 'node-kill',
  about: 'SIGKILL of a node, once to three times in a row, and a new start after 0 to 7 s',
  topologies: WITH_NODES,
  scope: 'node',
  needs: 'node',
  weight: 6,
  async run(context) {
    const times = between(context.random, 1, 3);
    for (let time = 0; time < times; time++) {
      await killOnce(context);
      await pause(between(context.random, 0, 2000));
    }
  },
};

const killAll: Fault = {
  name: 'node-kill-all',
  about: 'SIGKILL of all nodes at once',
  topologies: WITH_NODES,
  scope: 'node',
  needs: 'nodes',
  async run(context) {
    const { topology, random, count } = context;
    await Promise.all(topology.members.map(({ node }) => node.sigkill()));
    count('nodeKills', topology.members.length);
    await pause(between(random, 0, 4000));
    await Promise.all(topology.members.map((member) => startAgain({ ...context, member })));
  },
};

const freeze: Fault = {
  name: 'node-freeze',
  about: 'SIGSTOP of a node for 0.2 to 9 s (a lease is 3 s), then SIGCONT',
  topologies: WITH_NODES,
  scope: 'node',
  needs: 'node',
  async run({ member, random, say }) {
    const frozenMs = between(random, 200, 9000);
    say(`${member.name} frozen for ${frozenMs} ms`);
    member.node.sigstop();
    await pause(frozenMs);
    member.node.sigcont();
    await pause(500);
  },
};

async function restartOne(context: FaultContext): Promise<void> {
  const { member, random, say } = context;
  const code = await member.node.stop();
  if (code !== 0) say(`${member.name} ended with ${code} on SIGTERM`);
  await pause(between(random, 0, 1000));
  await startAgain(context);
}

const restart: Fault = {
  name: 'node-restart',
  about: 'SIGTERM of a node, which drains, and a new start',
  topologies: WITH_NODES,
  scope: 'node',
  needs: 'node',
  async run(context) {
    await restartOne(context);
  },
};

const rolling: Fault = {
  name: 'node-rolling-restart',
  about: 'SIGTERM and a new start of every node, one after the other',
  topologies: WITH_NODES,
  scope: 'node',
  needs: 'nodes',
  async run(context) {
    for (const member of context.topology.members) await restartOne({ ...context, member });
  },
};

const clock: Fault = {
  name: 'clock-step',
  about: "a node's wall clock jumps by up to 30 minutes, forward or back, and later back again",
  // The clock of a lone node is the time of its embedded store: expiry would rightly follow it.
  topologies: ['standalone', 'sentinel', 'cluster'],
  scope: 'clock',
  needs: 'node',
  async run({ member, random, say }) {
    const shiftMs = between(random, 1, 30) * MINUTE_MS * (random.below(2) === 0 ? 1 : -1);
    say(`${member.name}: clock steps by ${shiftMs / MINUTE_MS} min`);
    member.shiftClock(shiftMs);
    await pause(between(random, 500, 6000));
    member.shiftClock(0);
    // The jump back holds acks until the next renewal, as the jump did.
    await eventually(
      'the node is ready',
      async () => (await member.node.admin('/readyz')).status === 200,
      30_000,
    );
  },
};

const POINTS = Object.keys(STOP_POINTS) as StopPoint[];
/** Passed with every message; the others with what happens now and then. */
const BUSY_POINT = /^(publish|ack)\//;

/** Whether the process has been stopped by SIGSTOP. */
function isStopped(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
}

const stopPoint: Fault = {
  name: 'node-stop-point',
  about:
    'SIGKILL (or SIGSTOP for a while) of a node between two given steps of a publish, an ack, a takeover, a resume',
  topologies: WITH_NODES,
  scope: 'node',
  needs: 'node',
  weight: 4,
  async run(context) {
    const { member, random, count, say } = context;
    const { node } = member;
    const point = POINTS[random.below(POINTS.length)]!;
    const nth = between(random, 1, BUSY_POINT.test(point) ? 400 : 8);
    const action = random.below(4) === 0 ? 'pause' : 'kill';
    await node.sigkill();
    count('nodeKills');
    // It may come to the point before it says that it is ready, or Redis may be away.
    await node.start({ SWARMQ_TEST_STOP_AT: `${point}:${nth}:${action}` }).catch(() => {});
    const hasStopped = () => !node.isRunning || isStopped(node.pid);
    const isReached = await eventually('the point', hasStopped, 6000).catch(() => false);
    say(
      `${member.name} ${isReached ? `reached ${point} (${nth}): ${action}` : `did not reach ${point} ${nth} times`}`,
    );
    if (isReached && node.isRunning) {
      await pause(between(random, 100, 6000));
      node.sigcont();
      return;
    }
    if (isReached) await pause(between(random, 0, 3000));
    await node.sigkill();
    count('nodeKills');
    await startAgain(context);
  },
};

export const nodeFaults: readonly Fault[] = [kill, killAll, freeze, restart, rolling, clock, stopPoint];
