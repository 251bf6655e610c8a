// Steps of the stories that tests tell: one client does one thing, and the story goes on when it is answered.

import type { Test } from 'tap';
import type { SubscriptionWish } from './call.ts';
import { Cluster, type ClusterOptions } from './cluster.ts';
import type { Device } from './device.ts';
import type { Era, Message } from './history.ts';
import { judge } from './model.ts';
import { checkRest } from './rest.ts';
import { judgePresence } from './session-rules.ts';
import type { SimNode } from './sim-node.ts';

interface PublishOptions {
  readonly retain?: boolean;
  readonly isEmpty?: boolean;
  readonly bytes?: number;
  readonly expirySec?: number;
}

export function newMessage(
  device: Device,
  topic: string,
  qos: 0 | 1 | 2,
  { retain = false, isEmpty = false, expirySec = 0 }: PublishOptions = {},
): Message {
  return device.newMessage({ topic, qos, retain, isEmpty, expirySec, isWill: false });
}

/** Sends a message and does not wait. */
export function send(device: Device, topic: string, qos: 0 | 1 | 2, options: PublishOptions = {}): Message {
  const message = newMessage(device, topic, qos, options);
  if (!device.publish(message, options.bytes ?? 10)) throw new Error(`${device.id} could not publish`);
  return message;
}

/** Sends a message and waits for its ack. */
export async function publish(
  cluster: Cluster,
  device: Device,
  topic: string,
  qos: 1 | 2,
  options: PublishOptions = {},
): Promise<Message> {
  const message = send(device, topic, qos, options);
  await cluster.until(`the answer to ${message.id}`, () => message.ackedAt > 0 || message.isRefused);
  return message;
}

export const wish = (
  filter: string,
  qos: 0 | 1 | 2,
  extra: Partial<SubscriptionWish> = {},
): SubscriptionWish => ({
  filter,
  qos,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  ...extra,
});

/** Subscribes and waits for SUBACK. */
export async function subscribe(
  cluster: Cluster,
  device: Device,
  filters: readonly string[],
  qos: 0 | 1 | 2,
  extra: Partial<SubscriptionWish> = {},
): Promise<void> {
  device.subscribe(filters.map((filter) => wish(filter, qos, extra)));
  const records = device.era!.subscriptions.slice(-filters.length);
  await cluster.until(`SUBACK of ${device.id}`, () => records.every((one) => one.ackedAt > 0));
}

/** Unsubscribes and waits for UNSUBACK. */
export async function unsubscribe(
  cluster: Cluster,
  device: Device,
  filters: readonly string[],
): Promise<void> {
  const records = device.era!.subscriptions.filter((one) => filters.includes(one.filter));
  device.unsubscribe(filters);
  await cluster.until(`UNSUBACK of ${device.id}`, () => records.every((one) => one.endAckedAt < Infinity));
}

/** Ids of the messages that a device has got, in their order. */
export function messagesOf(cluster: Cluster, device: Device): string[] {
  const { deliveries } = cluster.history;
  return deliveries.filter(({ era }) => era.device === device.id).map(({ message }) => message.id);
}

export function topicsOf(cluster: Cluster, device: Device): string[] {
  const { deliveries } = cluster.history;
  return deliveries.filter(({ era }) => era.device === device.id).map(({ message }) => message.topic);
}

/** How often a device got a message. */
export const timesGot = (cluster: Cluster, device: Device, message: Message): number =>
  messagesOf(cluster, device).filter((id) => id === message.id).length;

/**
 * Tells the story once for each seed, on a cluster of its own. What the model has to say about it in the end is part of
 * the test; a story that leaves things half done ends with `isHalfDone`.
 */
export async function tell(
  t: Test,
  options: Partial<ClusterOptions> & { seeds: number; isHalfDone?: boolean },
  story: (cluster: Cluster, nodes: readonly [SimNode, SimNode, SimNode], seed: number) => Promise<void>,
): Promise<void> {
  for (let seed = 1; seed <= options.seeds; seed++) {
    const lines: string[] = [];
    const cluster = new Cluster({ nodes: 3, ...options, seed, trace: (line) => lines.push(line) });
    const breaches: string[] = [];
    try {
      await cluster.start();
      await story(cluster, cluster.nodes as unknown as [SimNode, SimNode, SimNode], seed);
      breaches.push(...(await verdict(cluster, options.isHalfDone === true)));
    } catch (error) {
      breaches.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    } finally {
      await cluster.close();
    }
    if (breaches.length === 0) t.pass(`seed ${seed}`);
    else {
      for (const line of lines) t.comment(line);
      t.fail(`seed ${seed}: ${breaches.join('; ')}`);
    }
  }
}

async function verdict(cluster: Cluster, isHalfDone: boolean): Promise<string[]> {
  const { history, losses, faultsMs, time, devices } = cluster;
  if (!isHalfDone) await cluster.pass(15_000);
  const drained = new Set<Era>();
  for (const { era, isConnected } of devices.values()) if (era !== null && isConnected) drained.add(era);
  const input = {
    history,
    losses,
    faultsMs,
    endMs: time.nowMs,
    drained,
    retained: new Map<string, string>(),
  };
  const breaches = [...cluster.errors, ...judgePresence(input)];
  // What is retained in the end is a story's own matter.
  breaches.push(...judge(input).filter((one) => !one.startsWith('retained on')));
  if (!isHalfDone) breaches.push(...checkRest(cluster).filter((one) => !one.endsWith('does not serve')));
  return breaches;
}

/** Asserts within a story: what is not so ends it. */
export function expect(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(`not so: ${what}`);
}
