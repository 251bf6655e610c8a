// The stop points themselves: each stands in the code once, a process stops where it was asked to and nowhere else, and
// what is no such text is refused. What a node leaves behind at each of them is test/fault/stop-points.test.ts.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { armStopPoint, STOP_POINTS, type StopPoint, stopPoint } from '../../src/util/stop-point.ts';
import { projectFile } from '../helpers/command-line.ts';

t.test('each point stands in the code once', async (t) => {
  const folder = projectFile('src');
  const files = readdirSync(folder, { recursive: true }).map(String);
  const code = files.filter((name) => name.endsWith('.ts')).map((name) => readFileSync(join(folder, name)));
  const passed = Buffer.concat(code)
    .toString()
    .matchAll(/stopPoint\('([^']+)'\)/g);
  t.strictSame([...passed].map(([, name]) => name).sort(), Object.keys(STOP_POINTS).sort());
});

t.test('what is no stop point is refused', async (t) => {
  const texts = ['', 'nowhere', 'claim/done:0', 'claim/done:x', 'claim/done:1:sleep', 'claim/done:1:kill:x'];
  for (const text of [...texts, 'toString', 'claim/done:1:toString']) {
    t.throws(() => armStopPoint(text), { code: 'SWARMQ_ERR_CONFIG_INVALID' }, text);
  }
});

t.test('the process stops at the passing that was asked for, once', async (t) => {
  const { kill } = process;
  t.teardown(() => {
    process.kill = kill;
  });
  const signals: unknown[] = [];
  process.kill = (pid, signal) => {
    signals.push(pid === process.pid && signal);
    return true;
  };
  const passOne = (name: StopPoint) => {
    stopPoint(name);
    return signals.length;
  };
  const pass = (...names: StopPoint[]) => names.map(passOne);
  t.same(pass('claim/done', 'will/taken'), [0, 0], 'off unless asked');
  armStopPoint('claim/done');
  t.same(pass('will/taken', 'claim/done', 'claim/done'), [0, 1, 1]);
  armStopPoint('will/taken:3:pause');
  t.same(pass('will/taken', 'will/taken', 'claim/done', 'will/taken', 'will/taken'), [1, 1, 1, 2, 2]);
  t.same(signals, ['SIGKILL', 'SIGSTOP']);
});
