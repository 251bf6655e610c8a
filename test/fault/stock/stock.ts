// The words that start the stock stack in place of swarmq.

import { extname, join } from 'node:path';

/** For `TopologyOptions.program`, with `hasAdmin: false`. */
export const STOCK_PROGRAM: string[] = [
  process.execPath,
  ...process.execArgv,
  join(import.meta.dirname, `stock-node${extname(import.meta.filename)}`),
];
