// The ports that workers share, with workers that are none: who gets a connection, and what becomes of those that nobody
// takes.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { compileConfig } from '../../src/config/compile.ts';
import { SharedPorts, type Taker } from '../../src/workers/shared-ports.ts';
import { ManualClock } from '../helpers/connection-fakes.ts';
import { eventually } from '../helpers/eventually.ts';

class FakeTaker implements Taker {
  isOpen = true;
  isReady = true;
  isTaking = false;
  isStuck = false;
  connections = 0;
  readonly got: Socket[] = [];

  give(_listener: string, socket: Socket): void {
    this.isTaking = true;
    this.connections++;
    this.got.push(socket);
  }
}

async function open(t: Test, takers: FakeTaker[]) {
  const clock = new ManualClock();
  const counts = { refused: 0 };
  const { listeners } = compileConfig({ listeners: { tcp: { host: '127.0.0.1', port: 0 } } });
  const ports = new SharedPorts({
    listeners,
    takers,
    clock,
    onRefused: () => counts.refused++,
    onError: (_listener, error) => t.fail(String(error)),
  });
  const port = (await ports.open()).tcp as number;
  t.teardown(() => {
    ports.close();
    for (const taker of takers) for (const socket of taker.got) socket.destroy();
  });
  const client = async () => {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    t.teardown(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  /** Workers that took what they were given ask for more. */
  const taken = () => {
    for (const taker of takers) taker.isTaking = false;
    ports.dispatch();
  };
  return { ports, clock, counts, client, taken };
}

t.test('the one with the fewest connections gets the next one', async (t) => {
  const [a, b] = [new FakeTaker(), new FakeTaker()];
  b.connections = 3;
  const { client, taken, ports } = await open(t, [a, b]);
  for (let number = 1; number <= 7; number++) {
    await client();
    await eventually('it was given', () => {
      taken();
      return a.got.length + b.got.length === number;
    });
  }
  t.same([a.connections, b.connections], [5, 5]);
  t.equal(ports.waiting, 0);
});

t.test('one at a time; nobody else gets it, unless the one is stuck, not ready or gone', async (t) => {
  const [a, b] = [new FakeTaker(), new FakeTaker()];
  b.connections = 10;
  const { client, clock, taken, ports } = await open(t, [a, b]);
  await client();
  await eventually('the first', () => a.got.length === 1);
  await client();
  await eventually('the second waits', () => ports.waiting === 1);
  clock.advance(100);
  t.equal(b.got.length, 0);
  a.isStuck = true;
  clock.advance(100);
  t.equal(b.got.length, 1, 'stuck');
  a.isStuck = false;
  a.isReady = false;
  taken();
  await client();
  await eventually('not ready', () => b.got.length === 2);
  b.isReady = false;
  taken();
  await client();
  await eventually('none is ready: the one with the fewest', () => a.got.length === 2);
  a.isOpen = false;
  taken();
  await client();
  await eventually('gone', () => b.got.length === 3);
});

t.test('without workers connections wait, for as long as a CONNECT may take', async (t) => {
  const a = new FakeTaker();
  a.isOpen = false;
  const { client, clock, counts, ports } = await open(t, [a]);
  const first = await client();
  await eventually('it waits', () => ports.waiting === 1);
  clock.advance(5000);
  await client();
  await eventually('both wait', () => ports.waiting === 2);
  clock.advance(5000);
  await once(first.resume(), 'close');
  t.same([ports.waiting, counts.refused], [1, 1]);
  a.isOpen = true;
  ports.dispatch();
  t.equal(a.got.length, 1);
});

t.test('only so many wait; closing closes them', async (t) => {
  const a = new FakeTaker();
  a.isOpen = false;
  const { client, counts, ports } = await open(t, [a]);
  const sockets: Socket[] = [];
  while (sockets.length < 4100) sockets.push(...(await Promise.all(Array.from({ length: 100 }, client))));
  await eventually('four are refused', () => counts.refused === 4);
  t.equal(ports.waiting, 4096);
  const ends = sockets.map((socket) => socket.destroyed || once(socket.resume(), 'close'));
  ports.close();
  await Promise.all(ends);
  t.equal(ports.waiting, 0);
});

t.test('a port that is taken opens none', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const { listeners } = compileConfig({
    listeners: { tcp: { host: '127.0.0.1', port: 0 }, ws: { host: '127.0.0.1', port } },
  });
  const none = { takers: [], onRefused() {}, onError() {} };
  const ports = new SharedPorts({ listeners, clock: new ManualClock(), ...none });
  const where = new RegExp(`ws on 127.0.0.1:${port}: .*EADDRINUSE`);
  await t.rejects(ports.open(), { code: 'SWARMQ_ERR_LISTEN', message: where });
});
