// The numbers of one node, as plain fields and typed arrays: the hot path adds to them and nothing else; metrics.ts and
// sys-tree.ts read them when asked. One object per node, handed to all parts at construction. Names of what is counted
// by kind are lists here, each kind one index, so that no kind is counted under two names.
//
// Drop accounting: over all nodes, messagesMatched = messagesDelivered + waiting + messagesDropped, where one unit is one
// message for one session, and waiting is totals.queuedMessages (once) and every node's liveMessages. A receiver counts
// as matched when the message is in its queue, or at its node; a QoS 0 message counts as delivered when it is written to
// the outbox of a connection, a QoS 1 or 2 message when the client's ack is committed (so that one sent twice counts
// once). Retained messages for a new subscription count like others.

import { DURATION_BOUNDS, Histogram, SIZE_BOUNDS } from './histogram.ts';

/** Why a matched message was not delivered. The order is the index into `messagesDropped`. */
export const DROP_REASONS = [
  /** The session's queue was full and its oldest message made room (limits.queueFullPolicy drop-oldest). */
  'queue_full',
  /** The session's queue was full and the new message was refused (limits.queueFullPolicy reject). */
  'queue_rejected',
  /** Message expiry, or limits.maxQueueTime, was over. */
  'expired',
  /** The session ended (clean start, expiry, or the end of a clean session's connection) with messages waiting. */
  'session_ended',
  /** The client reads too slowly: limits.maxConnectionBytes was reached (QoS 0). */
  'connection_full',
  /** The packet would have been larger than the client's Maximum Packet Size [MQTT-3.1.2-24]. */
  'client_packet_size',
  /** Too much for the subscriber's node waits here for the store (QoS 0). */
  'inbox_full',
  /** A retained copy waited for the client while a newer message of its topic came at QoS 0. */
  'superseded',
] as const;
export type DropReason = (typeof DROP_REASONS)[number];

/** What a limit of the configuration refused. The order is the index into `limitRejections`. */
export const LIMIT_NAMES = [
  'packet_size',
  'topic_length',
  'topic_levels',
  'client_id_length',
  'subscriptions_per_session',
  'group_members',
  /** limits.maxGroupKeys: keys of a group that were forgotten, those first that were not used for long. */
  'group_keys',
  'receive_maximum',
  'topic_alias',
  /** limits.maxQueuedMessages or maxQueuedBytes, where the policy is to reject; else see DROP_REASONS. */
  'queued_messages',
  'connection_bytes',
  'uncommitted_messages',
  'uncommitted_bytes',
  'uncommitted_per_connection',
  'connections',
  'listener_connections',
  'connections_per_source',
  'connect_timeout',
  'pre_connect_bytes',
  /** limits.maxRetainedMessages or maxRetainedBytes. */
  'retained_messages',
  /** Entries of this node's inbox went unread; its sessions looked for what they missed. */
  'inbox_bytes',
  'proxy_header',
  /** connection.checkPayloadFormat: a payload was not the text that it was said to be. */
  'payload_format',
  /** An exchange of enhanced authentication took too many rounds or too long. */
  'authentication',
] as const;
export type LimitName = (typeof LIMIT_NAMES)[number];

/** What happens to sessions. The order is the index into `sessionEvents`. */
export const SESSION_EVENTS = ['created', 'resumed', 'taken_over', 'ended', 'expired'] as const;
export type SessionEvent = (typeof SESSION_EVENTS)[number];

/** Packet types by their code, as labels and $SYS topics have them. */
export const PACKET_LABELS = [
  'reserved',
  'connect',
  'connack',
  'publish',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'subscribe',
  'suback',
  'unsubscribe',
  'unsuback',
  'pingreq',
  'pingresp',
  'disconnect',
  'auth',
] as const;

type IndexOf<T extends string> = { readonly [K in Uppercase<T>]: number };

function indexOf<T extends string>(names: readonly T[]): IndexOf<T> {
  return Object.fromEntries(names.map((name, index) => [name.toUpperCase(), index])) as IndexOf<T>;
}

/** Index by name: `stats.messagesDropped[Drop.QUEUE_FULL] += 1`. */
export const Drop = indexOf(DROP_REASONS);
export const Limit = indexOf(LIMIT_NAMES);
export const SessionHappening = indexOf(SESSION_EVENTS);

/** All numbers of one node. Counters only rise; gauges are set by whoever owns the thing. */
export class NodeStats {
  // Counters: the wire.
  bytesReceived = 0;
  bytesSent = 0;
  /** By packet type code. */
  readonly packetsReceived = new Float64Array(PACKET_LABELS.length);
  readonly packetsSent = new Float64Array(PACKET_LABELS.length);
  connectionsOpened = 0;
  connectionsClosed = 0;

  // Counters: messages.
  /** PUBLISHes of clients, by QoS; repetitions of QoS 2 not counted. */
  readonly messagesReceived = new Float64Array(3);
  /** Payload bytes of PUBLISHes. */
  publishBytesReceived = 0;
  publishBytesSent = 0;
  /** Receivers found, one per message and session. */
  messagesMatched = 0;
  /** Put into the queue of a session. */
  messagesQueued = 0;
  /** By the QoS of the delivery; see the head of this file for what counts. */
  readonly messagesDelivered = new Float64Array(3);
  /** By index of DROP_REASONS. */
  readonly messagesDropped = new Float64Array(DROP_REASONS.length);
  /** Sent once more after a resume (DUP). */
  messagesResent = 0;
  /** Repetitions by publishers that were recognised and not delivered again (QoS 2). */
  messagesRepeated = 0;
  /** Given to a member of a group of shared subscriptions. */
  messagesShared = 0;
  /** Moved to another member when the session that had them ended. */
  messagesMovedOn = 0;
  willsPublished = 0;
  /** By index of LIMIT_NAMES. */
  readonly limitRejections = new Float64Array(LIMIT_NAMES.length);

  // Counters: clients.
  authenticationsAccepted = 0;
  authenticationsRefused = 0;
  publishesDenied = 0;
  subscribesAllowed = 0;
  subscribesDenied = 0;
  /** By index of SESSION_EVENTS. */
  readonly sessionEvents = new Float64Array(SESSION_EVENTS.length);

  // Counters: cluster and store.
  inboxEntriesReceived = 0;
  inboxEntriesSent = 0;
  controlMessagesReceived = 0;
  controlMessagesSent = 0;
  /** Live pushes that went straight to the socket, and those that had to be read from the store. */
  pushesTaken = 0;
  pushesPassedOver = 0;
  pulls = 0;
  /** Sessions whose lost notification a pass over all sessions made good. */
  sessionsRepaired = 0;
  storeRetries = 0;
  storeReconnects = 0;
  /** Delays of the event loop above the limit. */
  eventLoopStalls = 0;

  // Gauges.
  /** Open connections by listener name. */
  readonly connections = new Map<string, number>();
  /** Sessions with a connection on this node, and the most there were at a time. */
  sessionsConnected = 0;
  sessionsConnectedMax = 0;
  /** Subscriptions of those sessions by kind. */
  readonly subscriptions = { plain: 0, wildcard: 0 };
  /** Of the sessions among them that are not in the table of routes: they end with their connection. */
  liveSubscriptions = 0;
  /** Groups of shared subscriptions with members, of the whole cluster. */
  sharedGroups = 0;
  /** Keys of groups whose member this node remembers. */
  sharedGroupKeys = 0;
  /** Receivers in the routing table, of the whole cluster. */
  routes = 0;
  inflightMessages = 0;
  /** QoS 1 and 2 messages under way to sessions that end with their connection, or waiting for their windows. */
  liveMessages = 0;
  uncommittedMessages = 0;
  uncommittedBytes = 0;
  /** Connections that are not read from because of what is uncommitted. */
  connectionsHeld = 0;
  outboxBytes = 0;
  clusterNodes = 0;
  /** 1 while the store answers. */
  storeUp = 0;
  /** Seconds since the last answered renewal of the lease was sent. */
  leaseAgeSeconds = 0;
  /** Longest delay of the event loop since the metrics were last read. */
  eventLoopStallSeconds = 0;
  state: NodeState = 'starting';
  /** Of the whole cluster, as the store or the table of routes counts them. */
  readonly totals = {
    sessions: 0,
    retainedMessages: 0,
    retainedBytes: 0,
    queuedMessages: 0,
    queuedBytes: 0,
    /** In the table of routes: of all sessions that outlive their connections, or share a subscription. */
    subscriptions: 0,
    sharedSubscriptions: 0,
  };

  // Histograms, in seconds or messages.
  /** From a QoS 1 or 2 PUBLISH to its acknowledgement. */
  readonly publishDuration = new Histogram(DURATION_BOUNDS);
  readonly commitDuration = new Histogram(DURATION_BOUNDS);
  readonly commitBatchMessages = new Histogram(SIZE_BOUNDS);
  readonly subscribeBarrierDuration = new Histogram(DURATION_BOUNDS);
}

export const NODE_STATES = ['starting', 'ready', 'degraded', 'draining', 'stopped', 'failed'] as const;
export type NodeState = (typeof NODE_STATES)[number];
