// What the delivery path counts: plain fields, so that counting costs an addition. observability/metrics.ts reads them.

export interface DeliveryFigures {
  /** Application messages received from clients, by QoS. */
  readonly received: [qos0: number, qos1: number, qos2: number];
  /** PUBLISHes that were answered: PUBACK and PUBREC. */
  acknowledged: number;
  /** Times a message matched a receiver (a session, or a live subscription of a connection). */
  matched: number;
  /** Messages queued for sessions. */
  queued: number;
  /** Messages that matched nobody. */
  unmatched: number;
  /** Repetitions of a QoS 2 message that a mark kept away from a receiver. */
  duplicates: number;
  /** Messages refused because a queue was full and the policy is to reject. */
  rejected: number;
  /** Oldest messages dropped by full queues. */
  droppedOldest: number;
  /** Enqueues for sessions that had ended meanwhile. */
  gone: number;
  /** Writes matched too long ago, which were matched again. */
  rematched: number;
  /** Retained messages that found no room. */
  retainedFull: number;
  /** Publishes that the authorization refused. */
  notAuthorized: number;
  wills: number;
  /** Messages taken in and not committed. */
  uncommitted: number;
  uncommittedBytes: number;
  /** Times a connection was held because too much was uncommitted. */
  holds: number;
}

export function newDeliveryFigures(): DeliveryFigures {
  return {
    received: [0, 0, 0],
    acknowledged: 0,
    matched: 0,
    queued: 0,
    unmatched: 0,
    duplicates: 0,
    rejected: 0,
    droppedOldest: 0,
    gone: 0,
    rematched: 0,
    retainedFull: 0,
    notAuthorized: 0,
    wills: 0,
    uncommitted: 0,
    uncommittedBytes: 0,
    holds: 0,
  };
}
