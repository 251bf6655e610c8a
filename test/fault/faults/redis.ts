// Faults of Redis servers themselves: killed and started on their files, frozen, clients thrown out, answers that are
// errors (OOM, READONLY, LOADING), and a power loss, which takes from the append-only file what was not on disk yet.

import { readdirSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../../helpers/eventually.ts';
import { freePort } from '../../helpers/owner.ts';
import type { ClientKind, RedisServer } from '../../helpers/redis-server.ts';
import type { Topology } from '../topology.ts';
import {
  between,
  type Fault,
  type FaultContext,
  lossOfCrash,
  lossOfFailover,
  pause,
  WITH_REDIS,
} from './fault.ts';

async function pickMaster({ topology, random }: FaultContext): Promise<RedisServer> {
  const masters = await topology.masters();
  return masters[random.below(masters.length)]!;
}

/** Nothing takes over from a master here: it has to come back itself. */
const isAlone = (topology: Topology): boolean => !topology.failsOver;

const kill: Fault = {
  name: 'redis-kill',
  about: 'SIGKILL of a Redis server, and a new start on its file after 0 to 6 s',
  topologies: ['standalone', 'cluster'],
  scope: 'store',
  needs: 'redis',
  weight: 2,
  fits: isAlone,
  lossMs: ({ durability }) => lossOfCrash(durability),
  async run(context) {
    const server = await pickMaster(context);
    context.count('redisFaults');
    await server.kill();
    const awayMs = between(context.random, 0, 6000);
    context.say(`Redis ${server.port} killed, away for ${awayMs} ms`);
    await pause(awayMs);
    await server.start();
  },
};

const freeze: Fault = {
  name: 'redis-freeze',
  about: 'SIGSTOP of a Redis server for 0.2 to 7 s, then SIGCONT',
  topologies: WITH_REDIS,
  scope: 'store',
  needs: 'redis',
  lossMs: (topology) => (topology.failsOver ? lossOfFailover(topology.durability) : null),
  async run(context) {
    const server = await pickMaster(context);
    const frozenMs = between(context.random, 200, 7000);
    context.count('redisFaults');
    context.say(`Redis ${server.port} frozen for ${frozenMs} ms`);
    server.pause();
    await pause(frozenMs);
    server.resume();
    await pause(500);
  },
};

const throwOut: Fault = {
  name: 'redis-client-kill',
  about: 'CLIENT KILL of all connections, of each kind, two to ten times',
  topologies: WITH_REDIS,
  scope: 'store',
  needs: 'redis',
  async run({ topology, random, say, count }) {
    const kinds: ClientKind[] = ['normal', 'pubsub', 'replica', 'master'];
    const times = between(random, 2, 10);
    count('redisFaults');
    for (let time = 0; time < times; time++) {
      let closed = 0;
      for (const server of topology.servers) {
        for (const kind of kinds) closed += await server.clientKill(kind);
      }
      say(`${closed} connections closed`);
      await pause(between(random, 10, 800));
    }
  },
};

const full: Fault = {
  name: 'redis-full',
  about: 'OOM: maxmemory set to what is used, for 1 to 4 s',
  topologies: WITH_REDIS,
  scope: 'store',
  needs: 'redis',
  async run(context) {
    const masters = await context.topology.masters();
    context.count('redisFaults');
    for (const master of masters) await master.command('CONFIG', 'SET', 'maxmemory', 1_000_000);
    await pause(between(context.random, 1000, 4000));
    for (const master of masters) await master.command('CONFIG', 'SET', 'maxmemory', 0);
  },
};

const readOnly: Fault = {
  name: 'redis-readonly',
  about: 'READONLY: the server is told to be a replica of nobody there, for 0.5 to 4 s',
  topologies: ['standalone'],
  scope: 'store',
  needs: 'redis',
  async run(context) {
    const server = await pickMaster(context);
    context.count('redisFaults');
    await server.command('REPLICAOF', '127.0.0.1', await freePort());
    await pause(between(context.random, 500, 4000));
    await server.command('REPLICAOF', 'NO', 'ONE');
  },
};

/** Starts a killed server that was told to load slowly, and lets it go on at full speed after `loadingMs`. */
async function startSlowly(server: RedisServer, loadingMs: number): Promise<void> {
  const started = server.start();
  await pause(loadingMs);
  await eventually('the end of the delay', async () => {
    return (await server.command('CONFIG', 'SET', 'key-load-delay', 0)) === 'OK';
  });
  await started;
}

const loading: Fault = {
  name: 'redis-loading',
  about: 'LOADING: SIGKILL, and a new start that takes 1 to 4 s to read its file',
  topologies: ['standalone', 'cluster'],
  scope: 'store',
  needs: 'redis',
  fits: (topology) => isAlone(topology) && topology.durability !== 'none',
  lossMs: ({ durability }) => lossOfCrash(durability),
  async run(context) {
    const server = await pickMaster(context);
    context.count('redisFaults');
    const loadingMs = between(context.random, 1000, 4000);
    context.say(`Redis ${server.port} killed, and loads for ${loadingMs} ms`);
    await server.command('CONFIG', 'SET', 'key-load-delay', 1000);
    await server.command('CONFIG', 'SET', 'loading-process-events-interval-bytes', 1024);
    await server.command('CONFIG', 'REWRITE');
    await server.kill();
    await startSlowly(server, loadingMs);
    await server.command('CONFIG', 'REWRITE');
  },
};

/** The part of the append-only file that is being written, and its size. */
function tailOf(server: RedisServer): { path: string; bytes: number } {
  const folder = join(server.folder, 'appendonlydir');
  const name = readdirSync(folder)
    .filter((file) => file.endsWith('.incr.aof'))
    .sort((a, b) => Number(a.split('.').at(-3)) - Number(b.split('.').at(-3)))
    .at(-1)!;
  const path = join(folder, name);
  return { path, bytes: statSync(path).size };
}

/** For how long what was written may not be on disk: with "no" that is the system's to say, on Linux 30 s. */
const UNSYNCED_MS = { none: null, no: 30_000, everysec: 1000, always: null, replicas: 1000 } as const;

const powerLoss: Fault = {
  name: 'redis-power-loss',
  about:
    'SIGKILL, and the file cut to what was on disk for sure: of a second before with everysec, 30 with no',
  topologies: ['standalone'],
  scope: 'store',
  needs: 'redis',
  isDefault: false,
  // What was written before the fault begins is on disk.
  lossMs: ({ durability }) => (durability === 'no' ? 1000 : lossOfCrash(durability)),
  async run(context) {
    const { topology, random, say, count } = context;
    const server = await pickMaster(context);
    count('redisFaults');
    const unsyncedMs = UNSYNCED_MS[topology.durability];
    const before = unsyncedMs === null ? undefined : tailOf(server);
    await pause(unsyncedMs ?? 1000);
    await server.kill();
    if (before) {
      const after = tailOf(server);
      if (after.path === before.path) truncateSync(after.path, before.bytes);
      say(`${after.bytes - before.bytes} bytes of the file gone`);
    }
    await pause(between(random, 0, 2000));
    await server.start();
  },
};

export const redisFaults: readonly Fault[] = [kill, freeze, throwOut, full, readOnly, loading, powerLoss];
