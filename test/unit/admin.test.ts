// The admin HTTP, over real sockets.

import { connect, createServer } from 'node:net';
import t from 'tap';
import { AdminServer } from '../../src/admin/admin-server.ts';

const readiness = { ready: true, reasons: [] as string[], state: 'ready' };

function makeServer(port = 0): AdminServer {
  return new AdminServer({
    host: '127.0.0.1',
    port,
    nodeName: 'n1',
    version: '1.2.3',
    readiness: () => readiness,
    metricsText: async () => 'swarmq_up 1\n',
    metricsContentType: 'text/plain; version=0.0.4; charset=utf-8',
  });
}

t.test('pages', async (t) => {
  const server = makeServer();
  const port = await server.open();
  t.teardown(() => server.close());
  const get = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`);
    return {
      status: answer.status,
      type: answer.headers.get('content-type') ?? '',
      body: await answer.text(),
    };
  };
  t.match(await get('/'), { status: 200, body: /"node":"n1".*"\/metrics"/ });
  t.match(await get('/livez'), { status: 200 });
  t.match(await get('/readyz'), { status: 200, body: '{"ready":true,"reasons":[],"state":"ready"}' });
  t.match(await get('/metrics'), { status: 200, type: /^text\/plain; version=0.0.4/, body: 'swarmq_up 1\n' });
  t.match(await get('/nope'), { status: 404 });

  Object.assign(readiness, { ready: false, reasons: ['the store does not answer'], state: 'degraded' });
  const answer = await get('/readyz');
  t.equal(answer.status, 503);
  t.strictSame(JSON.parse(answer.body), readiness);
  t.match(await get('/livez'), { status: 200 }, 'alive all the same');
});

t.test('a taken port is a coded error', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as { port: number };
  const server = makeServer(port);
  t.teardown(() => server.close());
  await t.rejects(server.open(), { code: 'SWARMQ_ERR_LISTEN', message: /EADDRINUSE/ });
});

t.test('closing does not wait for connections that are open', async (t) => {
  const server = makeServer();
  const port = await server.open();
  const stuck = connect(port, '127.0.0.1');
  t.teardown(() => stuck.destroy());
  stuck.on('error', () => {});
  stuck.write('GET /livez HTTP/1.1\r\nHost: x\r\n');
  await (await fetch(`http://127.0.0.1:${port}/livez`)).text();
  const started = performance.now();
  await server.close();
  t.ok(performance.now() - started < 2000);
});
