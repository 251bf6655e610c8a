// The stock stack: aedes, alone in memory or with the persistence and the emitter that its documentation names on one
// Redis. For the benchmark and for the laboratory, which compare with it.

import { createServer, type Server } from 'node:net';
import { Aedes, type AedesOptions } from 'aedes';

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

/** Listens on 127.0.0.1:`port`, on the Redis at `redisUrl` or in memory. */
export async function listenStock(port: number, redisUrl: string | undefined): Promise<Server> {
  const parts = redisUrl ? await sharedParts(redisUrl) : {};
  const broker = await Aedes.createBroker({ ...parts, maxClientsIdLength: 65535 });
  return createServer({ noDelay: true }, broker.handle).listen(port, '127.0.0.1');
}
