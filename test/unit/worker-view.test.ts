// What the process above workers knows of one: from what the worker says, from what it does not say, and what becomes of
// the connection that is on its way to it.

import { Socket } from 'node:net';
import t from 'tap';
import type { Child } from '../../src/workers/child.ts';
import type { WorkerStatus } from '../../src/workers/messages.ts';
import { Worker } from '../../src/workers/worker.ts';
import { ManualClock } from '../helpers/connection-fakes.ts';

const SERVES: WorkerStatus = { ready: true, reasons: [], state: 'ready', connections: 0 };

function makeWorker() {
  const clock = new ManualClock();
  const told: string[] = [];
  const sent: object[] = [];
  const process = { pid: 7, isReady: true, send: (message: object) => sent.push(message) };
  const worker = new Worker('n-1', clock, {
    onTaken: () => told.push('taken'),
    onReturned: (listener) => told.push(`returned ${listener}`),
    onLost: () => told.push('lost'),
  });
  worker.child = process as unknown as Child;
  const tell = (status: Partial<WorkerStatus>) =>
    worker.receive({ kind: 'status', status: { ...SERVES, ...status } });
  return { worker, process, clock, told, sent, tell };
}

t.test('ready is who says so, and goes on talking', async (t) => {
  const { worker, process, tell } = makeWorker();
  process.isReady = false;
  t.strictSame([worker.isOpen, worker.isReady, worker.reasons], [false, false, ['it is starting']]);
  process.isReady = true;
  tell({ ready: false, reasons: ['the store is away'], state: 'degraded' });
  t.strictSame([worker.isOpen, worker.isReady, worker.reasons], [true, false, ['the store is away']]);
  tell({});
  await worker.whenReady;
  t.strictSame([worker.isReady, worker.reasons], [true, []]);
  for (let tick = 0; tick < 3; tick++) t.notOk(worker.tick());
  t.strictSame([worker.isReady, worker.reasons], [false, ['it does not answer']]);
  tell({ connections: 4 });
  t.match(worker.summary, { node: 'n-1', pid: 7, state: 'ready', ready: true, connections: 4 });
  const killed = Array.from({ length: 31 }, () => worker.tick());
  t.strictSame([killed.indexOf(true), killed.filter(Boolean).length], [29, 1], 'once, after thirty ticks');
  worker.died();
  process.pid = 0;
  t.strictSame(worker.reasons, ['it has died and is started again']);
  t.notOk(Array.from({ length: 40 }, () => worker.tick()).includes(true), 'nothing runs that could hang');
  process.pid = 8;
  const starting = Array.from({ length: 31 }, () => worker.tick());
  t.equal(starting.indexOf(true), 29, 'one that starts, and has said nothing yet, may hang too');
});

t.test('a connection on its way: taken, and our hold on it ends', async (t) => {
  const { worker, clock, told, sent, tell } = makeWorker();
  const socket = new Socket();
  tell({ connections: 2 });
  worker.give('tcp', socket);
  t.strictSame(sent, [{ kind: 'connection', listener: 'tcp' }]);
  t.strictSame([worker.isTaking, worker.isStuck, worker.connections], [true, false, 3]);
  tell({ connections: 2 });
  t.equal(worker.connections, 3, 'what it does not know of yet counts');
  clock.advance(101);
  t.ok(worker.isStuck);
  t.notOk(socket.destroyed);
  worker.receive({ kind: 'taken', connections: 3 });
  t.strictSame([worker.isTaking, worker.isStuck, worker.connections], [false, false, 3]);
  t.ok(socket.destroyed);
  t.strictSame(told, ['taken']);
});

t.test('a connection on its way to one that dies is for another one', async (t) => {
  const { worker, told } = makeWorker();
  const socket = new Socket();
  worker.give('ws', socket);
  worker.died();
  t.strictSame(
    [told, socket.destroyed, worker.isTaking, worker.connections],
    [['returned ws'], false, false, 0],
  );
});

t.test('a connection that is never taken is given up, and the next one can come', async (t) => {
  const { worker, clock, told } = makeWorker();
  const socket = new Socket();
  worker.give('tcp', socket);
  clock.advance(10_000);
  worker.tick();
  t.ok(worker.isTaking);
  clock.advance(1);
  worker.tick();
  t.strictSame([told, socket.destroyed, worker.isTaking], [['lost'], true, false]);
});
