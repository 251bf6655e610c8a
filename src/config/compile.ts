// From what was written to what the code reads: units in the names (…Ms, …Bytes), listeners as a list, the Redis
// address and the durability taken apart, and the checks between options. The rest of swarmq sees `CompiledConfig`
// only. Nothing here looks at files, the environment or the network; of the machine only its cores count.

import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import type { z } from 'zod';
import { noteOf } from './fields.ts';
import { ConfigError, type ConfigProblem } from './problem.ts';
import { parseRedisUrl, type RedisAddress } from './redis-url.ts';
import {
  configSchema,
  configShape,
  LISTENER_TYPES,
  type ListenerType,
  type ParsedConfig,
  type RawConfig,
  WORKERS_MAX,
} from './schema.ts';
import type { Bytes, Ms } from './units.ts';

type WithSuffix<K extends string, S extends string> = K extends `${string}${S}` ? K : `${K}${S}`;
type UnitName<K extends string, V> = [V] extends [Ms]
  ? WithSuffix<K, 'Ms'>
  : [V] extends [Bytes]
    ? WithSuffix<K, 'Bytes'>
    : K;
type UnitValue<V> = [V] extends [Ms | Bytes]
  ? number
  : V extends readonly (infer E)[]
    ? readonly E[]
    : V extends object
      ? WithUnits<V>
      : V;

/** A section with its units in the names. */
export type WithUnits<T> = {
  readonly [K in keyof T & string as UnitName<K, T[K]>]: UnitValue<T[K]>;
};

/** Files of one TLS end; texts are paths. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string | undefined;
  readonly requestCert: boolean;
}

/** One listener that is to be opened. */
export interface CompiledListener {
  readonly name: string;
  readonly type: ListenerType;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** WebSocket path; of no meaning for tcp and tls. */
  readonly path: string;
  /** Present for tls and wss. */
  readonly tls: TlsFiles | null;
  readonly proxyProtocol: 'off' | 'v1' | 'v2' | 'any';
  /** CIDR texts ("10.0.0.0/8"); a plain address is a network of one. */
  readonly trustedProxies: readonly string[];
  readonly maxConnections: number;
  readonly maxConnectionsPerSource: number;
  readonly connectTimeoutMs: number;
  readonly preConnectMaxBytes: number;
}

/** Where Redis is; null in `CompiledConfig` when the embedded store is used. */
export interface CompiledRedis extends Omit<RedisAddress, 'isTls'> {
  readonly prefix: string;
  readonly sentinelUsername: string | undefined;
  readonly sentinelPassword: string | undefined;
  readonly connectTimeoutMs: number;
  /** null: no TLS. Texts are paths. */
  readonly tls: {
    readonly caFile: string | undefined;
    readonly certFile: string | undefined;
    readonly keyFile: string | undefined;
    readonly rejectUnauthorized: boolean;
  } | null;
}

/** When a write counts as committed. */
export interface CompiledDurability {
  /** written: the store answered. replicas: and WAIT counted `replicas`. fsync: and WAITAOF 1 `replicas` did. */
  readonly level: 'written' | 'replicas' | 'fsync';
  readonly replicas: number;
  /** Of one WAIT or WAITAOF. */
  readonly timeoutMs: number;
}

/** One user who may connect; `keys` is a secret. */
export interface CompiledUser {
  readonly username: string;
  readonly keys: string;
}

type Reshaped = 'workers' | 'redis' | 'durability' | 'durabilityTimeoutMs' | 'listeners' | 'admin' | 'auth';

/** The configuration as the code reads it. Read-only; units last in the names; Infinity stands for "never". */
export interface CompiledConfig extends Omit<WithUnits<ParsedConfig>, Reshaped> {
  /** Node processes; `auto` has become a number. */
  readonly workers: number;
  readonly redis: CompiledRedis | null;
  readonly durability: CompiledDurability;
  readonly listeners: readonly CompiledListener[];
  /** null: off. */
  readonly admin: { readonly host: string; readonly port: number } | null;
  readonly auth: { readonly allowAnonymous: boolean; readonly users: readonly CompiledUser[] };
}

const DEFAULT_PORTS: Record<ListenerType, number> = { tcp: 1883, tls: 8883, ws: 8083, wss: 8084 };

/** Tells where the value of a key came from; used in problems. */
export type SourceOf = (path: readonly PropertyKey[]) => string;

/**
 * Checks and compiles a configuration given as a plain tree; what is missing takes its default. Throws ConfigError
 * (SWARMQ_ERR_CONFIG_INVALID) with every problem. Tests call it with the few options they care about.
 */
export function compileConfig(raw: RawConfig = {}, sourceOf: SourceOf = () => ''): CompiledConfig {
  const parsed = configSchema.safeParse(raw);
  if (!parsed.success) throw new ConfigError(problemsOfIssues(parsed.error.issues, sourceOf));
  const problems: ConfigProblem[] = [];
  const report: Report = (path, reason) =>
    problems.push({ key: path.join('.'), source: sourceOf(path), reason });
  const config = compileParsed(parsed.data, report);
  checkTogether(parsed.data, config, report);
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

type Report = (path: readonly string[], reason: string) => void;

function problemsOfIssues(issues: readonly z.core.$ZodIssue[], sourceOf: SourceOf): ConfigProblem[] {
  return issues.map((issue) => ({
    key: issue.path.join('.'),
    source: sourceOf(issue.path),
    reason: issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message,
  }));
}

function compileParsed(parsed: ParsedConfig, report: Report): CompiledConfig {
  const plain = withUnits(configShape, parsed) as unknown as WithUnits<ParsedConfig>;
  const { redis, durability, durabilityTimeoutMs, listeners, admin, ...others } = plain;
  const { auth: _auth, workers: _workers, ...rest } = others;
  return {
    ...rest,
    workers: parsed.workers === 'auto' ? Math.min(availableParallelism(), WORKERS_MAX) : parsed.workers,
    redis: compileRedis(redis, report),
    durability: compileDurability(durability, durabilityTimeoutMs),
    listeners: compileListeners(parsed.listeners, report),
    admin: admin.port === 'off' ? null : { host: admin.host, port: admin.port },
    auth: { allowAnonymous: parsed.auth.allowAnonymous, users: compileUsers(parsed.auth.users, report) },
  };
}

/** Renames what has a unit, all the way down. Maps stay as they are: their entries are compiled one by one. */
function withUnits(shape: z.ZodRawShape, values: object): object {
  const renamed: [string, unknown][] = [];
  for (const [name, value] of Object.entries(values)) {
    const note = noteOf(shape[name]);
    const suffix = note.unit ?? '';
    const isGroup = note.kind === 'section' && note.shape && typeof value === 'object';
    renamed.push([
      name.endsWith(suffix) ? name : name + suffix,
      isGroup ? withUnits(note.shape as z.ZodRawShape, value as object) : value,
    ]);
  }
  return Object.fromEntries(renamed);
}

function compileRedis(redis: WithUnits<ParsedConfig>['redis'], report: Report): CompiledRedis | null {
  if (redis.url === undefined || redis.url === '') return null;
  const address = parseRedisUrl(redis.url);
  if (typeof address === 'string') {
    report(['redis', 'url'], address);
    return null;
  }
  const { isTls, ...where } = address;
  if ((redis.tls?.cert === undefined) !== (redis.tls?.key === undefined)) {
    report(['redis', 'tls'], 'cert and key go together');
  }
  return {
    ...where,
    username: redis.username ?? where.username,
    password: redis.password ?? where.password,
    prefix: redis.prefix,
    sentinelUsername: redis.sentinelUsername,
    sentinelPassword: redis.sentinelPassword,
    connectTimeoutMs: redis.connectTimeoutMs,
    tls:
      isTls || redis.tls
        ? {
            caFile: redis.tls?.ca,
            certFile: redis.tls?.cert,
            keyFile: redis.tls?.key,
            rejectUnauthorized: redis.tls?.rejectUnauthorized ?? true,
          }
        : null,
  };
}

function compileDurability(text: string, timeoutMs: number): CompiledDurability {
  const [level, replicas] = text.split(':');
  return { level: level as CompiledDurability['level'], replicas: Number(replicas ?? 0), timeoutMs };
}

function compileListeners(listeners: ParsedConfig['listeners'], report: Report): CompiledListener[] {
  const compiled: CompiledListener[] = [];
  for (const [name, listener] of Object.entries(listeners)) {
    const path = ['listeners', name];
    const type = listener.type ?? LISTENER_TYPES.find((known) => known === name);
    if (!type) {
      report([...path, 'type'], `is needed: ${LISTENER_TYPES.join(', ')}`);
      continue;
    }
    const port = listener.port ?? DEFAULT_PORTS[type];
    if (port === 'off') continue;
    compiled.push({
      name,
      type,
      host: listener.host,
      port,
      path: listener.path,
      tls: compileTls(type, listener.tls, [...path, 'tls'], report),
      proxyProtocol: listener.proxyProtocol,
      trustedProxies: listener.trustedProxies,
      maxConnections: listener.maxConnections,
      maxConnectionsPerSource: listener.maxConnectionsPerSource,
      connectTimeoutMs: listener.connectTimeout,
      preConnectMaxBytes: listener.preConnectMaxBytes,
    });
    checkProxies(listener, path, report);
  }
  return compiled;
}

function compileUsers(users: ParsedConfig['auth']['users'], report: Report): CompiledUser[] {
  const compiled = new Map<string, CompiledUser>();
  for (const [name, { username = name, keys }] of Object.entries(users)) {
    const path = ['auth', 'users', name];
    if (keys === undefined) report([...path, 'keys'], 'is needed: see `swarmq hash-password`');
    else if (compiled.has(username)) report(path, `there is a user ${username} already`);
    else compiled.set(username, { username, keys });
  }
  return [...compiled.values()];
}

type ParsedListener = ParsedConfig['listeners'][string];

function compileTls(
  type: ListenerType,
  tls: ParsedListener['tls'],
  path: readonly string[],
  report: Report,
): TlsFiles | null {
  if (type === 'tcp' || type === 'ws') {
    if (tls) report(path, `belongs to a listener of type tls or wss, not ${type}`);
    return null;
  }
  if (!tls?.cert || !tls.key) {
    report(path, `a listener of type ${type} needs cert and key`);
    return null;
  }
  if (tls.requestCert && !tls.ca) report(path, 'requestCert needs ca');
  return { certFile: tls.cert, keyFile: tls.key, caFile: tls.ca, requestCert: tls.requestCert };
}

function checkProxies(listener: ParsedListener, path: readonly string[], report: Report): void {
  for (const network of listener.trustedProxies) {
    const [address, bits, more] = network.split('/');
    const most = isIP(address ?? '') === 6 ? 128 : 32;
    const isValid =
      isIP(address ?? '') !== 0 &&
      more === undefined &&
      (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most));
    if (!isValid)
      report([...path, 'trustedProxies'], `"${network}" is not an address or a network (10.0.0.0/8)`);
  }
  if (listener.proxyProtocol !== 'off' && listener.trustedProxies.length === 0) {
    report([...path, 'trustedProxies'], 'must name the proxies when proxyProtocol is on');
  }
}

/** What no single option can know. */
function checkTogether(parsed: ParsedConfig, config: CompiledConfig, report: Report): void {
  const { limits, cluster, connection } = config;
  if (connection.redirect !== 'off' && connection.serverReference === undefined) {
    report(['connection', 'redirect'], 'needs connection.serverReference');
  }
  if (cluster.leaseMs < 3 * cluster.renewEveryMs) {
    report(['cluster', 'lease'], 'must be at least three times cluster.renewEvery');
  }
  if (limits.maxConnectionBytes < limits.maxPacketSizeBytes) {
    report(['limits', 'maxConnectionBytes'], 'must not be less than limits.maxPacketSize');
  }
  if (limits.maxUncommittedPerConnection > limits.maxUncommittedMessages) {
    report(['limits', 'maxUncommittedPerConnection'], 'must not be more than limits.maxUncommittedMessages');
  }
  // Also where auto would be 1: what is valid must not depend on the machine.
  if (parsed.workers !== 1 && !config.redis) {
    report(['workers'], `${parsed.workers} needs redis.url: the embedded store serves one process`);
  }
  if (config.durability.level !== 'written' && !config.redis) {
    report(['durability'], `${parsed.durability} needs redis.url; the embedded store knows written only`);
  }
  if (config.redis && config.data.memory) {
    report(['data', 'memory'], 'is of the embedded store; redis.url is set as well');
  }
  if (config.admin === null && config.listeners.length === 0)
    report(['listeners'], 'nothing would be opened');
  const taken = new Map<string, string>();
  for (const end of [...config.listeners, ...(config.admin ? [{ name: '', ...config.admin }] : [])]) {
    const place = `${end.host}:${end.port}`;
    const path = end.name === '' ? ['admin', 'port'] : ['listeners', end.name, 'port'];
    const other = taken.get(place);
    if (end.port !== 0 && other !== undefined) report(path, `${place} is taken by ${other} already`);
    taken.set(place, path.join('.'));
  }
}
