// What servers use is summed over processes that come and go meanwhile; one that is measured itself must not be gone.

import { spawn } from 'node:child_process';
import t from 'tap';
import { cpuSeconds, memoryBytes, threadSeconds } from '../../bench/processes.ts';
import { eventually } from '../helpers/eventually.ts';

t.test('children that live for moments do not end a measurement', async (t) => {
  // Each round of the shell starts four and waits for them.
  const parent = spawn('sh', ['-c', 'while :; do true & true & true & true & wait; done'], {
    stdio: 'ignore',
  });
  t.teardown(() => parent.kill('SIGKILL'));
  const pid = parent.pid!;
  const seen = Array.from({ length: 1000 }, () => ({
    bytes: memoryBytes([pid]),
    seconds: cpuSeconds([pid]),
    threads: threadSeconds([pid]).size,
  }));
  t.ok(seen.every(({ bytes, threads }) => bytes > 0 && threads > 0));
  t.ok(seen.some(({ seconds }) => seconds > 0));
});

t.test('the threads of a process, and of those that it started, by what each has used', async (t) => {
  // The child turns, its parent waits for it.
  const parent = spawn('sh', ['-c', 'sh -c "while :; do :; done" & wait'], {
    stdio: 'ignore',
    detached: true,
  });
  t.teardown(() => process.kill(-parent.pid!, 'SIGKILL'));
  const byUse = () => [...threadSeconds([parent.pid!])].sort(([, one], [, other]) => other - one);
  await eventually('one has used something', () => byUse()[0]![1] > 0.05);
  const used = byUse();
  t.equal(used.length, 2);
  t.equal(used[1]![0], `${parent.pid}/task/${parent.pid}`);
  t.equal(used[1]![1], 0);
});

t.test('a server that is gone does', async (t) => {
  const server = spawn('true', { stdio: 'ignore' });
  const pid = server.pid!;
  await new Promise((resolve) => server.once('exit', resolve));
  t.throws(() => cpuSeconds([pid]), { code: 'ENOENT' });
  t.throws(() => memoryBytes([pid]), { code: 'ENOENT' });
  t.throws(() => threadSeconds([pid]), { code: 'ENOENT' });
});
