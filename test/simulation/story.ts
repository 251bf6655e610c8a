// Steps of the stories that tests tell: one client does one thing, and the story goes on when it is answered.

import type { Cluster } from './cluster.ts';
import type { Device, SubscriptionWish } from './device.ts';
import type { Message } from './history.ts';

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
