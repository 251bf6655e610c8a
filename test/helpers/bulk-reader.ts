// A subscriber in a process of its own, for tests that measure others while it takes very many messages: in the test's
// process its reading would be taken for the broker's slowness. Started by `readInBulk`; the same file is the program.

import { fileURLToPath } from 'node:url';
import { cleanEnvironment } from './command-line.ts';
import { MqttClient, type Qos } from './mqtt-client.ts';
import { endChild, type Owner, spawnOwned } from './owner.ts';

export interface BulkPlan {
  port: number;
  clientId: string;
  clean: boolean;
  filter: string;
  qos: Qos;
  /** The reader is done when so many messages have come. */
  count: number;
  withinMs: number;
}

export interface BulkResult {
  received: number;
  /** Different topics among them. */
  topics: number;
  /** From SUBSCRIBE to the last message. */
  tookMs: number;
}

/** Subscribes in another process and resolves when `count` messages have come or the time is over. */
export async function readInBulk(owner: Owner, plan: BulkPlan): Promise<BulkResult> {
  const program = fileURLToPath(import.meta.url);
  const child = spawnOwned(process.execPath, [...process.execArgv, program, JSON.stringify(plan)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: cleanEnvironment({ SWARMQ_BULK_READER: '1' }),
  });
  owner.teardown(() => endChild(child, 'SIGKILL'));
  return new Promise((resolve, reject) => {
    child.once('message', (result) => resolve(result as BulkResult));
    child.once('exit', (code) => reject(new Error(`the bulk reader ended with ${code}`)));
  });
}

async function read(plan: BulkPlan): Promise<BulkResult> {
  const client = new MqttClient({ teardown: () => {} }, { clientId: plan.clientId, clean: plan.clean });
  await client.connect(plan.port);
  const started = performance.now();
  const topics = new Set<string>();
  const all = new Promise<void>((resolve) => {
    setTimeout(resolve, plan.withinMs);
    client.onReceived = ({ topic }) => {
      topics.add(topic);
      if (client.received.length === plan.count) resolve();
    };
  });
  await client.subscribe(plan.filter, plan.qos);
  await all;
  const tookMs = performance.now() - started;
  // One message too many would come right behind.
  await new Promise((resolve) => setTimeout(resolve, 300));
  return { received: client.received.length, topics: topics.size, tookMs };
}

if (process.env.SWARMQ_BULK_READER === '1' && process.send) {
  const result = await read(JSON.parse(process.argv[2]!) as BulkPlan);
  process.send(result, () => process.exit(0));
}
