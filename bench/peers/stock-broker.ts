// One stock aedes broker as a program: port, and a Redis address when it is to share state. Started by stock.ts only.

import { createServer } from 'node:net';
import { Aedes, type AedesOptions } from 'aedes';

const [port, redisUrl] = process.argv.slice(2);

/** Without a listener for errors of the emitter's connections the process would end with Redis. */
interface Parts {
  mq: AedesOptions['mq'];
  persistence: AedesOptions['persistence'];
}

async function sharedParts(url: string): Promise<Parts> {
  const { hostname, port } = new URL(url);
  const connection = { host: hostname, port: Number(port) };
  // Neither package has types that fit this release line of aedes.
  const emitterPackage: string = 'mqemitter-redis';
  const persistencePackage: string = 'aedes-persistence-redis';
  const [{ default: emitter }, { default: persistence }] = await Promise.all([
    import(emitterPackage),
    import(persistencePackage),
  ]);
  return { mq: emitter(connection), persistence: persistence(connection) };
}

const parts = redisUrl ? await sharedParts(redisUrl) : {};
const broker = await Aedes.createBroker({ ...parts, maxClientsIdLength: 65535 });
createServer({ noDelay: true }, broker.handle).listen(Number(port), '127.0.0.1');
