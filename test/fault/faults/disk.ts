// Faults of the disk under the embedded store: it is full for a while, and a process that dies leaves the beginning of a
// record at the end of the file.

import { execFileSync } from 'node:child_process';
import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { between, type Fault, pause, startAgain } from './fault.ts';

/** Limits how large files of the process may grow: writes beyond it fail as on a full disk. */
function limitFiles(pid: number, limit: string): void {
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${limit}:unlimited`]);
}

const full: Fault = {
  name: 'disk-full',
  about: 'every write to the disk fails for 0.5 to 4 s',
  topologies: ['embedded'],
  scope: 'store',
  needs: 'node',
  weight: 2,
  async run({ member, random, count }) {
    const { pid } = member.node;
    count('diskFaults');
    limitFiles(pid, '1');
    await pause(between(random, 500, 4000));
    limitFiles(pid, 'unlimited');
  },
};

/** The head of a whole record of the store's log (checksum, 600 bytes, type), as a write that was cut left it. */
function tornRecord(bytes: number): Buffer {
  const record = Buffer.alloc(7 + bytes, 0xa5);
  record.writeUInt16LE(600, 4);
  record[6] = 1;
  return record;
}

const torn: Fault = {
  name: 'disk-torn-write',
  about: 'SIGKILL, and the last write of the store ends in the middle of a record; a new start',
  topologies: ['embedded'],
  scope: 'node',
  needs: 'node',
  weight: 2,
  async run(context) {
    const { member, random, count } = context;
    await member.node.sigkill();
    count('nodeKills');
    count('diskFaults');
    const folder = join(member.node.folder, 'data', 'store');
    const logs = readdirSync(folder).filter((file) => file.endsWith('.log'));
    const newest = logs.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)).at(-1);
    if (newest) appendFileSync(join(folder, newest), tornRecord(between(random, 1, 500)));
    await startAgain(context);
  },
};

export const diskFaults: readonly Fault[] = [full, torn];
