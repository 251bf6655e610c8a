// A child process and its end: what it said before is heard before, nothing that it leaves behind holds up its end, and a
// start that fails is one more death, after which it is tried again.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/util/clock.ts';
import { Child, type ChildOptions } from '../../src/workers/child.ts';
import { eventually } from '../helpers/eventually.ts';
import { HandClock } from '../helpers/hand-clock.ts';
import { temporaryFolder } from '../helpers/owner.ts';

t.setTimeout(60_000);

/** Ready, until its input ends. */
const READY = `process.on('SIGTERM', () => process.exit(0)); console.log('ready'); process.stdin.resume().on('end', () => process.exit(0));`;

/** A child of the script, which is ended at teardown with all that it has started; `events` is what was told of it. */
function makeChild(t: Test, script: string, more: Partial<ChildOptions> = {}) {
  const events: string[] = [];
  const child: Child = new Child({
    name: 'child',
    command: () => [process.execPath, '-e', script],
    onLine: (line) => line === 'ready',
    onMessage: (message) => events.push(`said ${message}`),
    onDeath: (how, restartMs) => events.push(`died ${how}, again after ${restartMs}`),
    onReturn: () => events.push('is back'),
    restarts: false,
    clock: systemClock,
    ...more,
  });
  t.teardown(() => child.stop());
  return { child, events };
}

/** Starts a grandchild that has the channel of messages (and what else `stdio` gives it) and outlives its parent. */
const heir = (script: string, stdio: string) => `
  const { spawn } = require('node:child_process');
  const env = { ...process.env, NODE_CHANNEL_FD: '3', NODE_CHANNEL_SERIALIZATION_MODE: 'advanced' };
  const script = 'const parent = ' + process.pid + ';' + ${JSON.stringify(script)};
  spawn(process.execPath, ['-e', script], { stdio: ${stdio}, env }).unref();
`;

t.test('what is in the channel still when it has ended is heard before its death', async (t) => {
  const late = `const wait = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(wait);
    process.send('last words', () => process.exit());
  }, 20);`;
  const { child, events } = makeChild(
    t,
    `${heir(late, `['ignore', 'ignore', 'inherit', 3]`)}
    process.send('first words', () => console.log('ready'));
    process.stdin.resume().on('end', () => {});
    process.once('message', () => process.exit(3));`,
    // However long it takes.
    { clock: new HandClock() },
  );
  await child.start();
  child.send({ kind: 'end' });
  await eventually('its death is told', () => events.some((event) => event.startsWith('died')));
  t.same(events, ['said first words', 'said last words', 'died exit code 3, again after undefined']);
  t.equal(child.pid, 0);
});

t.test('what it has started, and holds its output or its channel, does not hold up its end', async (t) => {
  for (const stdio of [`['ignore', 'inherit', 'inherit']`, `['ignore', 'inherit', 'inherit', 3]`]) {
    const { child, events } = makeChild(
      t,
      `${heir('process.channel?.ref(); setInterval(() => {}, 1000); process.on("disconnect", () => {});', stdio)}
      ${READY}`,
    );
    await child.start();
    const { pid } = child;
    t.teardown(() => process.kill(-pid, 'SIGKILL'));
    t.equal(await child.stop(), 'exit code 0', stdio);
    t.same(events, []);
  }
});

t.test('a start that fails', async (t) => {
  const folder = temporaryFolder(t, 'logs');
  const logs = join(folder, 'logs');
  const logFile = join(logs, 'child.log');
  const clock = new HandClock();

  await t.test('at first: it is told, and nothing is tried again', async (t) => {
    const { child, events } = makeChild(t, READY, { logFile, restarts: true, clock });
    await t.rejects(child.start(), /child ended while starting .*ENOENT/);
    t.notOk(clock.step());
    t.same(events, []);
    t.equal(await child.stop(), undefined);
  });

  for (const [what, spoil, mend] of [
    [
      'the log cannot be opened',
      () => renameSync(logs, `${logs}-away`),
      () => renameSync(`${logs}-away`, logs),
    ],
    ['the process cannot be started', () => 'a\0b', () => ''],
  ] as const) {
    await t.test(
      `later, since ${what}: one more death, and the time before the next start grows`,
      async (t) => {
        mkdirSync(logs);
        t.teardown(() => rmSync(logs, { recursive: true }));
        let argument: unknown = '';
        const { child, events } = makeChild(t, READY, {
          command: () => [process.execPath, '-e', READY, String(argument ?? '')],
          logFile,
          restarts: true,
          clock,
        });
        await child.start();
        argument = spoil();
        child.kill();
        await eventually('its death is told', () => events.length === 1);
        const files = openFiles();
        for (const ms of [500, 1000, 2000]) clock.pass(ms);
        t.equal(openFiles(), files, 'no file is left open');
        t.equal(child.pid, 0);
        argument = mend() ?? '';
        clock.pass(4000);
        await eventually('it is back', () => child.isReady);
        t.same(events[0], 'died SIGKILL, again after 500');
        t.match(events.slice(1), [
          /^died .*(ENOENT|null bytes).*, again after 1000$/,
          /, again after 2000$/,
          /, again after 4000$/,
          'is back',
        ]);
      },
    );
  }
});

function openFiles(): number {
  return existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0;
}
