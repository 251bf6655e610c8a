// What sessions count: plain fields, so that counting costs an addition. observability/metrics.ts reads them.

export interface SessionFigures {
  /** Application messages handed to connections, by QoS of the delivery. */
  readonly delivered: [qos0: number, qos1: number, qos2: number];
  /** Messages that a receiver matched and will never get, by reason. */
  readonly dropped: Dropped;
  /** Messages read back from the store by a session that was behind. */
  pulled: number;
  pulls: number;
  takeovers: number;
  sessionsCreated: number;
  sessionsResumed: number;
  sessionsEnded: number;
}

export interface Dropped {
  /** The queue's limit, of count or bytes. */
  queueFull: number;
  /** The message's own expiry or maxQueueTime. */
  expired: number;
  /** Larger than the client's Maximum Packet Size [MQTT-3.1.2-25]. */
  tooLarge: number;
  /** QoS 0 while the connection had too many bytes waiting. */
  slowConnection: number;
  /** The window and backlog of a session without a queue were full. */
  backlogFull: number;
  /** The session ended with the message waiting. */
  sessionEnded: number;
  /** Another node's inbox had no room (QoS 0 only). */
  inboxFull: number;
}

export function newSessionFigures(): SessionFigures {
  return {
    delivered: [0, 0, 0],
    dropped: {
      queueFull: 0,
      expired: 0,
      tooLarge: 0,
      slowConnection: 0,
      backlogFull: 0,
      sessionEnded: 0,
      inboxFull: 0,
    },
    pulled: 0,
    pulls: 0,
    takeovers: 0,
    sessionsCreated: 0,
    sessionsResumed: 0,
    sessionsEnded: 0,
  };
}
