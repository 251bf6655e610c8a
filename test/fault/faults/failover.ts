// Faults of replicated Redis: a master that dies and is replaced (Sentinel, Redis Cluster), a replica that is put in its
// place by order, and slots that move between the masters of a Cluster (MOVED and ASK).

import { eventually } from '../../helpers/eventually.ts';
import type { RedisServer } from '../../helpers/redis-server.ts';
import type { Topology } from '../topology.ts';
import { between, type Fault, type FaultContext, lossOfFailover, pause } from './fault.ts';

/** Sentinel that finds no replica good enough, on a machine with much to do, tries again after 20 s. */
const PATIENCE_MS = 180_000;

const lossMs = ({ durability }: Topology): number | null => lossOfFailover(durability);

/** Every replica has caught up with its master: what happens next meets a whole set. */
async function inStep(topology: Topology): Promise<void> {
  await eventually(
    'the replicas are in step',
    async () => {
      const masters = await topology.masters();
      for (const server of topology.servers) {
        const isMaster = masters.includes(server);
        if ((await server.role()) !== (isMaster ? 'master' : 'slave')) return false;
        if (!isMaster && (await server.info('replication')).get('master_link_status') !== 'up') return false;
      }
      return true;
    },
    PATIENCE_MS,
  );
}

async function replaced(topology: Topology, old: RedisServer): Promise<void> {
  await eventually(
    'another master',
    async () => {
      const masters = await topology.masters();
      if (masters.includes(old)) return false;
      for (const master of masters) if ((await master.role()) !== 'master') return false;
      return true;
    },
    PATIENCE_MS,
  );
}

async function killMaster(context: FaultContext): Promise<void> {
  const { topology, random, say, count } = context;
  await inStep(topology);
  const masters = await topology.masters();
  const old = masters[random.below(masters.length)]!;
  count('redisFaults');
  await old.kill();
  say(`master ${old.port} killed`);
  await replaced(topology, old);
  // Without it nobody confirms, where a replica must.
  await pause(between(random, 0, 1500));
  await old.start();
  say('another master took over, and the old one is back');
  await inStep(topology);
}

const sentinelFailover: Fault = {
  name: 'sentinel-failover',
  about: 'SIGKILL of the master; Sentinel puts its replica in its place, and it comes back as a replica',
  topologies: ['sentinel'],
  scope: 'store',
  needs: 'redis',
  weight: 3,
  lossMs,
  run: killMaster,
};

const clusterFailover: Fault = {
  name: 'cluster-failover',
  about: 'SIGKILL of a master of the Redis Cluster; its replica takes over, and it comes back as a replica',
  topologies: ['cluster'],
  scope: 'store',
  needs: 'redis',
  weight: 3,
  fits: (topology) => topology.failsOver,
  lossMs,
  run: killMaster,
};

const sentinelSwitch: Fault = {
  name: 'sentinel-switch',
  about: 'SENTINEL FAILOVER: the replica becomes the master while the master lives',
  topologies: ['sentinel'],
  scope: 'store',
  needs: 'redis',
  lossMs,
  async run({ topology, count }) {
    await inStep(topology);
    const { sentinels, masterName, master } = topology.sentinel!;
    const old = await master();
    count('redisFaults');
    await eventually('Sentinel begins', async () => {
      return (await sentinels[0]!.command('SENTINEL', 'FAILOVER', masterName)) === 'OK';
    });
    await replaced(topology, old);
    await inStep(topology);
  },
};

const clusterSwitch: Fault = {
  name: 'cluster-switch',
  about: 'CLUSTER FAILOVER: a replica takes the place of its living master by agreement',
  topologies: ['cluster'],
  scope: 'store',
  needs: 'redis',
  fits: (topology) => topology.failsOver,
  async run({ topology, random, count }) {
    await inStep(topology);
    const shards = await topology.cluster!.shards(topology.servers.find(({ isRunning }) => isRunning)!);
    const { master, replicas } = shards[random.below(shards.length)]!;
    count('redisFaults');
    await replicas[0]!.command('CLUSTER', 'FAILOVER');
    await replaced(topology, master);
    await inStep(topology);
  },
};

const slots: Fault = {
  name: 'cluster-slots',
  about: 'MOVED and ASK: slots with their keys move from one master to another, one to six of them',
  topologies: ['cluster'],
  scope: 'store',
  needs: 'redis',
  weight: 2,
  async run({ topology, random, say, count }) {
    if (topology.failsOver) await inStep(topology);
    count('redisFaults');
    const times = between(random, 1, 6);
    for (let time = 0; time < times; time++) {
      const slot = await slotInUse(topology, random.below(3));
      if (slot === undefined) continue;
      await topology.cluster!.moveSlot(slot);
      say(`slot ${slot} moved`);
    }
  },
};

/** A slot of a master that holds keys: of all slots only a few do, and the same key space has its own. */
async function slotInUse(topology: Topology, index: number): Promise<number | undefined> {
  const masters = await topology.masters();
  const key = await masters[index % masters.length]!.command('RANDOMKEY');
  return key === null ? undefined : Number(await masters[0]!.command('CLUSTER', 'KEYSLOT', String(key)));
}

export const failoverFaults: readonly Fault[] = [
  sentinelFailover,
  clusterFailover,
  sentinelSwitch,
  clusterSwitch,
  slots,
];
