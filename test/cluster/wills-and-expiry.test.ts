// Bar 12: the will of a client whose node died is published once and in time, not when the client is back before its delay
// is over; a session expires though its node was killed, and never while its client is connected elsewhere (G7, G10).

import t from 'tap';
import { atMost, PATIENCE_MS } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import type { Owner } from '../helpers/owner.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const LEASE_MS = 3000;

/** A client with a will on will/<name> and a subscription to for/<name>; delay and expiry in seconds. */
async function connectWithWill(
  owner: Owner,
  port: number,
  name: string,
  willDelayInterval: number | undefined,
  sessionExpirySeconds: number,
): Promise<MqttClient> {
  const properties = willDelayInterval === undefined ? {} : { properties: { willDelayInterval } };
  const will = { topic: `will/${name}`, payload: name, qos: 1 as const, retain: false, ...properties };
  const client = new MqttClient(owner, {
    clientId: name,
    version: 5,
    clean: false,
    will,
    sessionExpirySeconds,
  });
  await client.connect(port);
  await client.subscribe(`for/${name}`, 1);
  return client;
}

t.test('a node is killed under clients with wills and short sessions', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b, c] = await startNodes(t, 3, { redis: redis.url });
  const startedAt = performance.now();
  const elapsed = (ms: number, since: number) =>
    eventually('time passes', () => performance.now() - since > ms, ms * 2 + 1000);

  const watcher = new MqttClient(t, { clientId: 'watcher' });
  await watcher.connect(a!.port);
  await watcher.subscribe('will/#', 1);
  const wills = (name: string) => watcher.received.filter(({ topic }) => topic === `will/${name}`);
  const client = (name: string, delay: number | undefined, expiry: number) =>
    connectWithWill(t, b!.port, name, delay, expiry);
  await client('gone', undefined, 3600);
  const oldVersion = { topic: 'will/old', payload: 'old', qos: 1 as const, retain: false };
  await new MqttClient(t, { clientId: 'old', version: 4, clean: true, will: oldVersion }).connect(b!.port);
  await client('delayed', 8, 3600);
  const back = await client('back', 8, 3600);
  const brief = await client('brief', undefined, 3);
  const mover = await client('mover', undefined, 3);
  const leaver = await client('leaver', undefined, 3600);
  await leaver.disconnect();

  // Just after a start a death may be noticed up to two leases later: the bar speaks of a cluster that runs.
  await elapsed(2 * LEASE_MS + 500, startedAt);
  t.same(watcher.received, [], 'no will while all is well');
  await b!.sigkill();
  const killedAt = performance.now();
  t.ok((await mover.connect(c!.port)).sessionPresent, 'a client goes on elsewhere');
  await eventually(
    'the will is published',
    () => wills('gone').length > 0 && wills('old').length > 0,
    20_000,
  );
  const after = wills('gone')[0]!.at - killedAt;
  atMost(t, 'will after the kill', { measured: after, bar: LEASE_MS + 2000, sanity: LEASE_MS + 7000 });
  t.ok((await back.connect(c!.port)).sessionPresent, 'back before the delay is over');

  await elapsed(5000, killedAt);
  t.notOk((await brief.connect(a!.port)).sessionPresent, 'an expiry of 3 s is over 5 s after the kill');
  t.ok(mover.isConnected, 'not for the one that is connected elsewhere');
  const publisher = new MqttClient(t, { clientId: 'publisher' });
  await publisher.connect(a!.port);
  await publisher.publish('for/mover', 'x', { qos: 1 });
  await publisher.publish('for/brief', 'x', { qos: 1 });
  await eventually('its subscription lives', () => mover.received.length === 1);
  // With DISCONNECT, or its will would be due now.
  await mover.disconnect();
  t.ok((await mover.connect(a!.port)).sessionPresent, 'and it finds its session');

  await eventually('a delayed will is published', () => wills('delayed').length > 0, 20_000);
  // A dead node's delays count from its last renewal, which is up to 500 ms before its death.
  t.ok(wills('delayed')[0]!.at - killedAt >= 7400, 'not before its delay');
  await elapsed(8000 + 2 * LEASE_MS, killedAt);
  t.equal(wills('gone').length, 1, 'exactly once');
  t.equal(wills('old').length, 1, 'exactly once, MQTT 3.1.1');
  t.equal(wills('delayed').length, 1, 'exactly once, delayed');
  t.equal(wills('back').length, 0, 'none for the one that was back in time');
  t.equal(wills('leaver').length, 0, 'none after DISCONNECT');
  t.equal(wills('mover').length, 0, 'none for the one that went on at once');
  t.same(brief.received, [], 'the expired subscription is gone');
});
