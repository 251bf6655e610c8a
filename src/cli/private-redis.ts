// The Redis server that a local cluster starts for itself: found on PATH, on loopback, with its append-only file in a
// folder of its own. A shell stands between us and the server and ends it when our pipe is closed, so that the server
// does not outlive a killed `swarmq cluster` (Redis itself does not look at its input).

import { accessSync, constants } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import type { Environment } from '../config/env.ts';

const PROGRAMS = ['redis-server', 'valkey-server'];

// "wait" comes back early when a signal is trapped, hence the loop. The server must not hold the pipe (3<&-).
const GUARD = `exec 3<&0
"$@" 3<&- &
server=$!
trap 'kill "$server" 2>/dev/null' TERM INT HUP
echo "pid $server"
(cat <&3 >/dev/null; kill "$server" 2>/dev/null) &
watcher=$!
wait "$server"; status=$?
while kill -0 "$server" 2>/dev/null; do wait "$server"; status=$?; done
kill "$watcher" 2>/dev/null
exit "$status"`;

/** The path of a Redis or Valkey server; undefined when PATH has none. */
export function findRedisServer(environment: Environment): string | undefined {
  const folders = (environment.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const paths = PROGRAMS.flatMap((program) => folders.map((folder) => join(folder, program)));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The command that runs the server under its guard; it prints `pid N` first. */
export function redisCommand(server: string, port: number, folder: string): string[] {
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder];
  settings.push('--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '');
  settings.push('--maxmemory-policy', 'noeviction', '--daemonize', 'no');
  return ['/bin/sh', '-c', GUARD, 'sh', server, ...settings];
}

/** A port that nobody listens on at the moment. */
export function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
