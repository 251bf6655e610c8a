// The limits that a store keeps by itself, whichever it is: what a queue, the retained messages and an inbox may grow to.
// One type for both implementations, so that the contract suite can set them for either.

/** Numbers are counts unless the name ends in a unit; Infinity is no limit. */
export interface StoreLimits {
  /** limits.maxQueuedMessages: entries of one session's queue. */
  readonly maxQueuedMessages: number;
  /** limits.maxQueuedBytes: bytes (header and body) of one session's queue. */
  readonly maxQueuedBytes: number;
  /** limits.queueFullPolicy */
  readonly queueFullPolicy: 'drop-oldest' | 'reject';
  /** limits.maxInflightMessages: entries from the head on that may have been sent and are never dropped. */
  readonly windowMax: number;
  /** limits.maxRetainedMessages */
  readonly maxRetainedMessages: number;
  /** limits.maxRetainedBytes: bytes of topics and records. */
  readonly maxRetainedBytes: number;
  /** limits.maxInboxBytes: bytes waiting in one node's inbox; the oldest are trimmed beyond it. */
  readonly maxInboxBytes: number;
  /** cluster.markLife: how long a mark outlives its last use. */
  readonly markLifeMs: number;
}
