// Faults of the network, by proxies: between clients and a node, and between a node and Redis (or, with Sentinel and
// Cluster, in front of a Redis server). Slow, narrow, silent, cut, and cut in the middle of a packet.

import type { NetProxy } from '../../helpers/net-proxy.ts';
import { between, type Fault, type FaultContext, pause, WITH_NODES, WITH_REDIS } from './fault.ts';

type Ill = (proxy: NetProxy, context: FaultContext) => Promise<void>;

const ILLS: Readonly<Record<string, { about: string; do: Ill }>> = {
  delay: {
    about: '5 to 300 ms one way for 1 to 5 s',
    async do(proxy, { random, say }) {
      proxy.delayMs = between(random, 5, 300);
      say(`${proxy.delayMs} ms`);
      await pause(between(random, 1000, 5000));
      proxy.delayMs = 0;
    },
  },
  throttle: {
    about: '20 to 200 kB a second for 1 to 5 s',
    async do(proxy, { random, say }) {
      proxy.bytesPerSecond = between(random, 20, 200) * 1000;
      say(`${proxy.bytesPerSecond} bytes/s`);
      await pause(between(random, 1000, 5000));
      proxy.bytesPerSecond = Number.POSITIVE_INFINITY;
    },
  },
  cut: {
    about: 'every connection reset, one to five times',
    async do(proxy, { random, say }) {
      const times = between(random, 1, 5);
      for (let time = 0; time < times; time++) {
        say(`${proxy.cut()} connections cut`);
        await pause(between(random, 20, 1500));
      }
    },
  },
  tear: {
    about: 'every connection ended in the middle of what it carries next, one to five times',
    async do(proxy, { random, say }) {
      const times = between(random, 1, 5);
      for (let time = 0; time < times; time++) {
        say(`${proxy.tear()} connections torn`);
        await pause(between(random, 20, 1500));
      }
    },
  },
  refuse: {
    about: 'connections cut and new ones refused for 0.5 to 6 s',
    async do(proxy, { random }) {
      proxy.refusing = true;
      proxy.cut();
      await pause(between(random, 500, 6000));
      proxy.refusing = false;
    },
  },
  silence: {
    about: 'nothing passes for 0.5 to 8 s, and nobody is told; then it goes on, or is cut',
    async do(proxy, { random, say }) {
      proxy.halfOpen = true;
      await pause(between(random, 500, 8000));
      const isCut = random.below(2) === 0;
      if (isCut) proxy.cut();
      proxy.halfOpen = false;
      say(isCut ? 'silent, then cut' : 'silent, then on');
    },
  },
};

const clientLinks: Fault[] = Object.entries(ILLS).map(([name, ill]) => ({
  name: `clients-${name}`,
  about: `between clients and a node: ${ill.about}`,
  topologies: WITH_NODES,
  scope: 'network',
  needs: 'client-link',
  run: (context) => ill.do(context.member.clients, context),
}));

const redisLinks: Fault[] = Object.entries(ILLS).map(([name, ill]) => ({
  name: `redis-${name}`,
  about: `between a node and Redis, or in front of a Redis server: ${ill.about}`,
  topologies: WITH_REDIS,
  scope: 'network',
  needs: 'redis-link',
  // A master that Sentinel does not hear is replaced, whether it lives or not.
  lossMs: ({ sentinel, durability }) => (sentinel && durability !== 'replicas' ? 15_000 : null),
  async run(context) {
    const { topology, member, random, count } = context;
    count('redisFaults');
    await ill.do(member.redis ?? topology.links[random.below(topology.links.length)]!, context);
  },
}));

export const linkFaults: readonly Fault[] = [...clientLinks, ...redisLinks];
