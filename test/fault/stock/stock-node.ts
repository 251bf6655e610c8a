// One stock aedes broker with the command line of a swarmq node, so that the laboratory can start it in a node's place.
// What it does not know of that command line (configuration, admin port, log level) it passes over.

import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { listenStock } from './broker.ts';

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: { port: { type: 'string' }, redis: { type: 'string' } },
  strict: false,
});
const server = await listenStock(Number(values.port), values.redis as string | undefined);
if (!server.listening) await once(server, 'listening');
process.on('SIGTERM', () => process.exit(0));
process.stdout.write(`ready: mqtt 127.0.0.1:${values.port}\n`);
