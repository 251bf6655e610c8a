// One stock aedes broker as a program: port, and a Redis address when it is to share state. Started by stock.ts only.

import { listenStock } from '../../test/fault/stock/broker.ts';

const [port, redisUrl] = process.argv.slice(2);
await listenStock(Number(port), redisUrl);
