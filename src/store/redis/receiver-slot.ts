// The Cluster slot of a receiver, from the first character of its name (operations.ts, receiverOf...): sessions by their
// bucket, retained topics by their shard, payloads by their bucket, inboxes by their node, everything else by the
// cluster's tag.

import {
  bucketOf,
  CLUSTER_TAG,
  inboxTag,
  PAYLOAD_BUCKETS,
  payloadBucketOf,
  payloadTag,
  RETAINED_SHARDS,
  retainedTag,
  SESSION_BUCKETS,
  sessionTag,
  shardOf,
} from './keyspace.ts';
import { slotOf } from './slots.ts';

const slotsOf = (count: number, tag: (index: number) => string) =>
  Array.from({ length: count }, (_none, index) => slotOf(tag(index)));

/** Slot of each session bucket. */
export const SESSION_SLOTS: readonly number[] = slotsOf(SESSION_BUCKETS, sessionTag);
export const RETAINED_SLOTS: readonly number[] = slotsOf(RETAINED_SHARDS, retainedTag);
export const PAYLOAD_SLOTS: readonly number[] = slotsOf(PAYLOAD_BUCKETS, payloadTag);
export const CLUSTER_SLOT: number = slotOf(CLUSTER_TAG);

/** Receiver of what is written to the route log. */
export const LOG_RECEIVER = 'l';

export function slotOfReceiver(receiver: string): number {
  const name = receiver.slice(1);
  switch (receiver[0]) {
    case 's':
      return SESSION_SLOTS[bucketOf(name)]!;
    case 'r':
      return RETAINED_SLOTS[shardOf(name)]!;
    case 'p':
      return PAYLOAD_SLOTS[payloadBucketOf(name)]!;
    case 'n':
      return slotOf(inboxTag(name));
    default:
      return CLUSTER_SLOT;
  }
}
