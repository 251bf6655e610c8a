// Every option of swarmq: name, default, range and the sentence that documents it, once. config/default.yaml,
// docs/configuration.md, the environment variables, the checks and the type `CompiledConfig` follow from this file;
// adding an option is adding one entry here (then `node scripts/docs.mjs`). Names are mosquitto's nouns in camelCase.
// Options that depend on each other are checked in compile.ts.

import { z } from 'zod';
import {
  choice,
  count,
  countOrAuto,
  duration,
  list,
  map,
  optionalChoice,
  optionalPort,
  optionalSection,
  optionalText,
  port,
  secret,
  secretUrl,
  section,
  size,
  text,
  toggle,
} from './fields.ts';

/** Kinds of listeners. */
export const LISTENER_TYPES = ['tcp', 'tls', 'ws', 'wss'] as const;
export type ListenerType = (typeof LISTENER_TYPES)[number];

/** How a member of a shared subscription is chosen. */
export const GROUP_STRATEGIES = [
  'round-robin',
  'random',
  'sticky',
  'hash-by-publisher',
  'hash-by-topic',
  'least-in-flight',
  'local-first',
] as const;
export type GroupStrategy = (typeof GROUP_STRATEGIES)[number];

/** Worker processes of one machine at most. */
export const WORKERS_MAX = 64;

const node = section('This node.', {
  name: text('node', 'Name of the node in logs, metrics and $SYS; give each node of a cluster its own.', {
    test: /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    reason: 'must have letters, digits, dots, - and _ only (at most 64)',
  }),
});

const data = section('The embedded store, used when redis.url is not set.', {
  dir: text('./data', 'Directory of the embedded store.'),
  memory: toggle(false, 'Keep the embedded store in memory only; everything is lost with the process.'),
});

const redis = section('Redis or Valkey (6.2 or later; WAITAOF needs 7.2). Absent url: the embedded store.', {
  url: secretUrl(
    'redis://host:6379/0, rediss://host, redis+sentinel://h1:26379,h2:26379/master-name, redis+cluster://h1:6379,h2:6379.',
  ),
  prefix: text('swarmq', 'First part of every key and channel; two clusters on one Redis need two.', {
    test: /^[A-Za-z0-9._-]{1,64}$/,
    reason: 'must have letters, digits, dots, - and _ only (at most 64)',
  }),
  username: optionalText('ACL user; goes before one in the url.'),
  password: secret('Password; goes before one in the url.'),
  sentinelUsername: optionalText('ACL user of the Sentinels.'),
  sentinelPassword: secret('Password of the Sentinels.'),
  connectTimeout: duration('5s', 'How long one attempt to connect may take.', { min: '100ms', max: '10m' }),
  tls: optionalSection('TLS to Redis; present, or rediss:// in the url, turns it on.', {
    ca: optionalText('File with the certificates to trust (PEM) instead of the system ones.'),
    cert: optionalText('File with the client certificate (PEM).'),
    key: optionalText('File with the private key of the client certificate (PEM).'),
    rejectUnauthorized: toggle(true, 'Refuse a server whose certificate does not verify.'),
  }),
});

const listeners = map(
  'Where clients connect, by name. Listeners given in the file replace these two.',
  { tcp: { type: 'tcp', port: 1883 }, ws: { type: 'ws', port: 8083 } },
  {
    type: optionalChoice(
      LISTENER_TYPES,
      'tcp, tls, ws or wss; by default the name, where it is one of these.',
    ),
    host: text('0.0.0.0', 'Address to listen on.'),
    port: optionalPort('Port; 0 picks a free one, off opens nothing. By type: 1883, 8883, 8083, 8084.'),
    path: text('/mqtt', 'Path of the WebSocket (ws, wss).', {
      test: /^\/\S*$/,
      reason: 'must begin with / and have no spaces',
    }),
    tls: optionalSection('Certificates (tls, wss).', {
      cert: optionalText('File with the certificate chain (PEM).'),
      key: optionalText('File with the private key (PEM).'),
      ca: optionalText('File with the authorities that client certificates must come from (PEM).'),
      requestCert: toggle(false, 'Ask for a client certificate and refuse clients without a valid one.'),
    }),
    proxyProtocol: choice(
      ['off', 'v1', 'v2', 'any'],
      'off',
      'PROXY protocol header that must come first; only from trustedProxies.',
    ),
    trustedProxies: list('Addresses (CIDR) whose PROXY header is believed; others are refused.'),
    maxConnections: count(100_000, 'Connections of this listener; more are closed.'),
    maxConnectionsPerSource: count(20_000, 'Connections from one source address; more are closed.'),
    connectTimeout: duration('10s', 'Time to send a whole CONNECT in, TLS and PROXY headers included.', {
      min: '100ms',
      max: '10m',
    }),
    preConnectMaxBytes: size('256KB', 'Bytes a connection may send before its CONNECT is complete.', {
      min: '1KB',
    }),
  },
);

const admin = section('Health, metrics and the like over HTTP.', {
  host: text('127.0.0.1', 'Address to listen on.'),
  port: port(18083, 'Port; 0 picks a free one, off opens nothing.'),
});

const limits = section('Limits; each has a metric.', {
  maxConnections: count(100_000, 'Connections of the node; more are refused.'),
  maxPacketSize: size('2MB', 'Largest packet a client may send.', { min: '1KB', max: '268435455' }),
  maxTopicLength: size('65535', 'Longest topic name or filter.', { min: '64', max: '65535' }),
  maxTopicLevels: count(200, 'Most levels of a topic name or filter.', { min: 2, max: 65535 }),
  maxClientIdLength: size('65535', 'Longest client id.', { min: '23', max: '65535' }),
  maxSubscriptionsPerSession: count(1000, 'Subscriptions of one session.'),
  maxGroupMembers: count(1000, 'Members of one shared subscription; more are refused.'),
  maxGroupKeys: count(
    20_000,
    'Keys (topics, publishers) of one shared subscription whose member a node remembers; at least half as many of those in use.',
    { max: 200_000 },
  ),
  maxInflightMessages: count(128, 'QoS 1 and 2 messages under way to one client at a time.', {
    max: 16_384,
  }),
  receiveMaximum: count(1024, 'QoS 1 and 2 messages under way from one client at a time.', { max: 65535 }),
  topicAliasMaximum: count(32, 'Topic aliases a client may set on its connection.', { min: 0, max: 65535 }),
  maxKeepAlive: duration('65535s', 'Longest keep-alive; MQTT 5 clients that ask for more are told.', {
    min: '1s',
    max: '65535s',
  }),
  maxSessionExpiry: duration('never', 'Longest life of a session without a connection.', { min: '1s' }),
  maxQueuedMessages: count(100_000, 'Messages waiting for one session.'),
  maxQueuedBytes: size('256MB', 'Bytes waiting for one session.', { min: '64KB' }),
  queueFullPolicy: choice(
    ['drop-oldest', 'reject'],
    'drop-oldest',
    'A full queue drops its oldest message, or rejects the new one (MQTT 5 publishers get 0x97).',
  ),
  maxQueueTime: duration(
    '30d',
    'How long a message may wait for a session; never turns payload sharing off.',
    {
      min: '1s',
    },
  ),
  maxConnectionBytes: size('8MB', 'Bytes waiting to be written to one connection.', { min: '64KB' }),
  maxUncommittedMessages: count(50_000, 'Messages of the node that the store has not committed yet.'),
  maxUncommittedBytes: size('256MB', 'Their bytes.', { min: '1MB' }),
  maxUncommittedPerConnection: count(
    4096,
    'Those of one connection; it is not read from until some are done.',
  ),
  maxRetainedMessages: count(1_000_000, 'Retained messages of the cluster.'),
  maxRetainedBytes: size('1GB', 'Bytes of the retained messages of the cluster.', { min: '64KB' }),
  maxRetainedPage: count(100, 'Retained messages read in one go for a new subscription.', { max: 10_000 }),
  maxInboxBytes: size('64MB', "Bytes waiting in one node's inbox; beyond them its sessions pull instead.", {
    min: '1MB',
  }),
  maxPeerBytes: size(
    '8MB',
    "Bytes waiting to be written to one other node's inbox (a message counts as 160 at least); beyond them QoS 0 to it is dropped (inbox_full), and its sessions pull.",
    { min: '64KB' },
  ),
  minSharedReceivers: count(8, 'Number of queued receivers from which a payload is stored once.', { min: 2 }),
  minSharedBytes: size('16KB', 'Size from which a payload with several queued receivers is stored once.', {
    min: '1KB',
  }),
  maxPullBytes: size('1MB', "Bytes read from a session's queue in one go.", { min: '64KB' }),
});

const connection = section('What clients of MQTT 5 are told, and what is asked of them.', {
  topicAliasMaximum: count(
    16,
    'Topic aliases the node uses towards one client that takes them; 0 for none.',
    {
      min: 0,
      max: 1024,
    },
  ),
  responseInformation: optionalText(
    'Response Information for clients that ask for it, such as the beginning of their response topics.',
  ),
  serverReference: optionalText(
    'Where clients are sent (host:port, several with spaces): with DISCONNECT 0x9C when this node stops, and by redirect.',
  ),
  redirect: choice(
    ['off', 'temporary', 'permanent'],
    'off',
    'Refuse every CONNECT and name serverReference: temporary 0x9C (use another server), permanent 0x9D (server moved).',
  ),
  checkPayloadFormat: toggle(
    false,
    'Refuse messages whose payload is said to be UTF-8 and is not (0x99); those of QoS 0 are dropped.',
  ),
});

const auth = section('Who may connect. Without users everybody may, and user names are not looked at.', {
  allowAnonymous: toggle(false, 'Let clients in that name no user, although there are users.'),
  users: map(
    'Users, by name. They connect with user name and password, or by SCRAM-SHA-256 (MQTT 5).',
    {},
    {
      username: optionalText('User name, where it is not the name of this entry.'),
      keys: secret(
        'Salted keys of the password, as `swarmq hash-password` prints them; the password itself is kept nowhere.',
        {
          test: /^SCRAM-SHA-256\$(?:[1-9]\d{3,5}|1000000):[A-Za-z0-9+/]{11,86}={0,2}\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$/,
          reason: 'must be a line that `swarmq hash-password` printed (SCRAM-SHA-256$iterations:salt$keys)',
        },
      ),
    },
  ),
});

const sharedSubscriptions = section('Shared subscriptions, $share/<group>/<filter>.', {
  strategy: choice(
    GROUP_STRATEGIES,
    'round-robin',
    'Which member gets a message, of those that are connected where any is.',
  ),
  groups: map(
    'Groups with a strategy of their own, by name.',
    {},
    {
      strategy: choice(GROUP_STRATEGIES, 'round-robin', 'Which member gets a message of this group.'),
    },
  ),
});

const cluster = section('How the nodes of a cluster watch over each other.', {
  lease: duration('3s', 'How long a node is believed alive after its last renewal.', {
    min: '500ms',
    max: '5m',
  }),
  renewEvery: duration('500ms', 'How often a node renews its lease.', { min: '50ms', max: '1m' }),
  sweepEvery: duration('500ms', 'How often leases and due deadlines are looked at.', {
    min: '50ms',
    max: '1m',
  }),
  reconcileEvery: duration('10s', 'How often a node compares its sessions with the store.', {
    min: '1s',
    max: '1h',
  }),
  markLife: duration('24h', 'How long the marks that tell QoS 2 repetitions outlive their messages.', {
    min: '1m',
    max: '365d',
  }),
});

const sys = section('The $SYS/broker topics.', {
  interval: duration('10s', 'How often they are published; 0 turns them off.', { max: '1d' }),
});

const log = section('Logs: JSON lines on standard error.', {
  level: choice(
    ['trace', 'debug', 'info', 'warn', 'error', 'silent'],
    'info',
    'trace, debug, info, warn, error or silent.',
  ),
});

/** The whole configuration. */
export const configShape = {
  node,
  workers: countOrAuto(
    1,
    'Node processes behind the ports of this one, each a member of the cluster; auto: one per core. More than 1 needs redis.url.',
    WORKERS_MAX,
  ),
  data,
  redis,
  durability: text(
    'written',
    'When a message counts as stored: written, replicas:N (WAIT), fsync or fsync:N (WAITAOF).',
    {
      test: /^(written|replicas:[1-9]\d?|fsync(:[1-9]\d?)?)$/,
      reason: 'must be written, replicas:N, fsync or fsync:N',
    },
  ),
  durabilityTimeout: duration('5s', 'How long one WAIT or WAITAOF may take before it is asked again.', {
    min: '10ms',
    max: '10m',
  }),
  listeners,
  admin,
  limits,
  connection,
  auth,
  sharedSubscriptions,
  cluster,
  sys,
  log,
};

export const configSchema = z.strictObject(configShape);

/** What may be written in the file: every option is optional. */
export type RawConfig = z.input<typeof configSchema>;

/** The values with units still as brands; only compile.ts sees this type. */
export type ParsedConfig = z.output<typeof configSchema>;
