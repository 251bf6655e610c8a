// The address of Redis in its three forms, as one text: a single server, Sentinels with the name of the master, or
// some nodes of a Redis Cluster. Reads the text only; whether anybody answers there is the store's business.

/** Where Redis is and how to speak to it. */
export interface RedisAddress {
  readonly mode: 'standalone' | 'sentinel' | 'cluster';
  /** The server, the Sentinels, or some of the cluster's nodes. */
  readonly endpoints: readonly { readonly host: string; readonly port: number }[];
  /** Sentinel: the name of the master. */
  readonly masterName: string | undefined;
  readonly database: number;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly isTls: boolean;
}

const SCHEMES = new Map<string, { mode: RedisAddress['mode']; isTls: boolean; port: number }>([
  ['redis', { mode: 'standalone', isTls: false, port: 6379 }],
  ['rediss', { mode: 'standalone', isTls: true, port: 6379 }],
  ['redis+sentinel', { mode: 'sentinel', isTls: false, port: 26379 }],
  ['rediss+sentinel', { mode: 'sentinel', isTls: true, port: 26379 }],
  ['redis+cluster', { mode: 'cluster', isTls: false, port: 6379 }],
  ['rediss+cluster', { mode: 'cluster', isTls: true, port: 6379 }],
]);

/** Reads an address; returns the reason as a text when it is not one. */
export function parseRedisUrl(url: string): RedisAddress | string {
  const match = /^([a-z+]+):\/\/(?:([^@/]*)@)?([^/?@]*)(?:\/([^?]*))?(?:\?(.*))?$/i.exec(url.trim());
  const scheme = SCHEMES.get((match?.[1] ?? '').toLowerCase());
  if (!match || !scheme) {
    return 'must begin with redis://, rediss://, redis+sentinel:// or redis+cluster:// and name a host';
  }
  const endpoints: { host: string; port: number }[] = [];
  for (const part of (match[3] as string).split(',')) {
    const endpoint = parseEndpoint(part.trim(), scheme.port);
    if (!endpoint) return `has no valid host and port in "${part}"`;
    endpoints.push(endpoint);
  }
  if (scheme.mode === 'standalone' && endpoints.length > 1) {
    return 'names several hosts: use redis+sentinel:// or redis+cluster://';
  }
  const credentials = parseCredentials(match[2]);
  if (!credentials) return 'has a user or password that is not percent-encoded correctly';
  const path = parsePath(scheme.mode, match[4] ?? '', match[5] ?? '');
  if (typeof path === 'string') return path;
  return { mode: scheme.mode, endpoints, isTls: scheme.isTls, ...credentials, ...path };
}

/** The address with its password replaced. */
export function maskRedisUrl(url: string, mask: string): string {
  // Greedy up to the last @, so that a password with a stray @ in it is hidden as a whole.
  return url.replace(/^([^:]*:\/\/[^:@]*):.*@/, `$1:${mask}@`);
}

function parseEndpoint(part: string, defaultPort: number): { host: string; port: number } | undefined {
  const match = /^(\[[0-9a-f:.%]+\]|[^:[\]\s]+)(?::(\d{1,5}))?$/i.exec(part);
  if (!match) return undefined;
  const port = match[2] === undefined ? defaultPort : Number(match[2]);
  if (port < 1 || port > 65535) return undefined;
  return { host: (match[1] as string).replace(/^\[|\]$/g, ''), port };
}

function parseCredentials(text: string | undefined) {
  if (text === undefined) return { username: undefined, password: undefined };
  const colon = text.indexOf(':');
  try {
    const username = decodeURIComponent(colon < 0 ? text : text.slice(0, colon));
    const password = colon < 0 ? '' : decodeURIComponent(text.slice(colon + 1));
    return { username: username || undefined, password: password || undefined };
  } catch {
    return undefined;
  }
}

function parsePath(mode: RedisAddress['mode'], path: string, query: string) {
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys()) {
    if (name !== 'db') return `has an unknown parameter "${name}" (only db is known)`;
  }
  const named = mode === 'sentinel' ? path : undefined;
  if (mode === 'sentinel' && !named) {
    return 'must end with the name of the master: redis+sentinel://h1:26379/name';
  }
  const database = (mode === 'sentinel' ? undefined : path) || (parameters.get('db') ?? '0');
  if (!/^\d{1,5}$/.test(database)) return `has "${database}" where the number of the database belongs`;
  if (mode === 'cluster' && Number(database) !== 0)
    return 'cannot choose a database: Redis Cluster has only 0';
  return { masterName: named, database: Number(database) };
}
