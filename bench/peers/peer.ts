// What the benchmark needs of a contestant: fresh processes with fresh data, ports, pids and a sentence about its setting.

import { connect } from 'node:net';
import { eventually } from '../../test/helpers/eventually.ts';
import type { Owner } from '../../test/helpers/owner.ts';

export interface PeerNeed {
  /** Node processes; a broker without a cluster starts one. */
  nodes: number;
  /** Sessions and messages are kept in a store outside the process. */
  isDurable: boolean;
  /** appendfsync of the store. */
  fsync: 'always' | 'everysec';
  /** Pins a process to the cores for servers. */
  launcher: string[];
}

export interface RunningPeer {
  /** One for each node. */
  ports: number[];
  /** All server processes, stores included. */
  pids: number[];
  setting: string;
}

export interface Peer {
  name: string;
  start(owner: Owner, need: PeerNeed): Promise<RunningPeer>;
}

/** Resolves when 127.0.0.1:`port` accepts. */
export async function listening(port: number): Promise<void> {
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
    20_000,
  );
}
