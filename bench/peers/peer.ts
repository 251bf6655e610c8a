// What the benchmark needs of a contestant: whether it can play a workload at all, fresh processes with fresh data, ports,
// pids, and in words its version, its setting and what its acknowledgement says.

import { execFileSync, type SpawnOptions, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { eventually } from '../../test/helpers/eventually.ts';
import { endChild, type Owner, spawnOwned, temporaryFolder } from '../../test/helpers/owner.ts';
import type { Workload } from '../workloads.ts';

export interface Certificate {
  certFile: string;
  keyFile: string;
}

export interface PeerNeed {
  /** Node processes; a broker without a cluster starts one. */
  nodes: number;
  /** Processes behind the port of a node; a broker without that uses its threads, or one core. */
  workers: number;
  /** Sessions and messages are kept in a store outside the process. */
  isDurable: boolean;
  /** appendfsync of the store. */
  fsync: 'always' | 'everysec';
  /** Clients speak TLS. */
  certificate: Certificate | undefined;
  /** Pins a process to the cores for servers. */
  launcher: string[];
}

export interface RunningPeer {
  /** One for each node. */
  ports: number[];
  /** All server processes, stores included; what they start themselves is found. */
  pids: number[];
  version: string;
  setting: string;
  /** What PUBACK and PUBREC say. */
  ack: string;
}

export interface Peer {
  name: string;
  /** Why it cannot play `workload`; undefined when it can. */
  obstacle(workload: Workload): string | undefined;
  start(owner: Owner, need: PeerNeed): Promise<RunningPeer>;
}

/** What not every broker can. */
type Feature = 'acks' | 'sessions' | 'qos2' | 'mqtt5' | 'tls' | 'groups' | 'retained' | 'wildcards';

function featuresOf(workload: Workload): Feature[] {
  const { qos, protocol, isTls, shape, isClean } = workload;
  const wanted: [Feature, boolean][] = [
    ['acks', qos > 0],
    ['sessions', !isClean],
    ['qos2', qos === 2],
    ['mqtt5', protocol === 5],
    ['tls', isTls],
    ['groups', shape === 'group'],
    ['retained', shape === 'retained'],
    ['wildcards', shape !== 'pairs' && shape !== 'crowd'],
  ];
  return wanted.flatMap(([feature, isWanted]) => (isWanted ? [feature] : []));
}

/** For `Peer.obstacle`: a broker that is not installed, or that lacks something, given by feature as a sentence. */
export function obstacleOf(
  workload: Workload,
  lacks: Partial<Record<Feature, string>>,
  program?: string,
): string | undefined {
  if (program !== undefined && programPath(program) === undefined) return `${program} is not installed`;
  for (const feature of featuresOf(workload)) if (lacks[feature] !== undefined) return lacks[feature];
  return undefined;
}

/** Where `name` is, by PATH and the folders of system programs. */
export function programPath(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** The first thing like a version number in what a command says of itself. */
export function versionOf(command: string, ...args: string[]): string {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return /\d+\.\d+[\w.-]*/.exec(`${stdout}${stderr}`)?.[0] ?? 'unknown';
}

/** Version of an installed package of npm. */
export function packageVersion(manifest: string): string {
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

/** A self-signed certificate by the openssl command, in a folder of the owner. */
export function makeCertificate(owner: Owner): Certificate {
  const folder = temporaryFolder(owner, 'certificate');
  const certFile = join(folder, 'server.crt');
  const keyFile = join(folder, 'server.key');
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, '-out', certFile, ...subject], {
    stdio: 'pipe',
  });
  return { certFile, keyFile };
}

/** Starts a server and resolves with its pid when 127.0.0.1:`port` accepts; it is killed with its owner. */
export async function startServer(
  owner: Owner,
  command: readonly string[],
  port: number,
  options: SpawnOptions = { stdio: 'ignore' },
  patienceMs?: number,
): Promise<number> {
  const child = spawnOwned(command[0]!, command.slice(1), options);
  owner.teardown(() => endChild(child, 'SIGKILL'));
  await listening(port, patienceMs);
  return child.pid!;
}

/** Resolves when 127.0.0.1:`port` accepts. */
async function listening(port: number, patienceMs = 20_000): Promise<void> {
  await eventually(
    `port ${port} accepts`,
    () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(port, '127.0.0.1', () => {
          socket.destroy();
          resolve(true);
        });
        socket.once('error', () => resolve(false));
      }),
    patienceMs,
  );
}
