// The only place where key strings are made; keyspace-table.ts says what each of them holds. All keys of a session lie in one of 256 buckets that its client id
// chooses, so that one script can take many sessions of a bucket in a Redis Cluster; keys that serve the whole cluster
// share one tag. The bucket function is part of the stored format: it never changes.

import { type CommandWriter, encodeArguments } from './resp.ts';

/** Buckets of sessions; part of the stored format. */
export const SESSION_BUCKETS = 256;
/** Shards of the retained messages; part of the stored format. */
export const RETAINED_SHARDS = 16;
/** Buckets of shared payloads; part of the stored format. */
export const PAYLOAD_BUCKETS = 64;

/** FNV-1a over the UTF-16 code units, folded, so that also the low bits depend on every character. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return (hash ^ (hash >>> 15)) >>> 0;
}

export const bucketOf = (clientId: string): number => hashText(clientId) & (SESSION_BUCKETS - 1);
export const shardOf = (topic: string): number => hashText(topic) & (RETAINED_SHARDS - 1);
export const payloadBucketOf = (payloadId: string): number => hashText(payloadId) & (PAYLOAD_BUCKETS - 1);

/** Hash tags, without braces: what decides the slot. */
export const sessionTag = (bucket: number): string => `b${bucket}`;
export const retainedTag = (shard: number): string => `r${shard}`;
export const payloadTag = (bucket: number): string => `p${bucket}`;
export const inboxTag = (incarnation: string): string => `n${incarnation}`;
export const CLUSTER_TAG = 'cl';

/** The keys that the control scripts of a session declare, in the order of includes/session-keys.lua. */
export const SESSION_KEYS = [
  'meta',
  'queue',
  'marks',
  'notes',
  'inbound',
  'orphans',
  'held',
  'rows',
  'wills',
  'readings',
  'due',
  'taken',
  'takenAt',
  'marked',
  'counts',
  'orphaned',
] as const;
/** What stands in those of the client, up to `orphans`, between bucket and client id. */
const CLIENT_NAMES = ['s', 'q', 'm', 'n', 'i', 'o'];
/** What stands behind the bucket in those that its sessions share, from `rows` on. */
const BUCKET_NAMES = ['rows', 'wills', 'readings', 'due', 'taken', 'takenat', 'marked', 'counts', 'orphaned'];

export class Keyspace {
  readonly #prefix: string;
  /** By bucket, its keys as arguments. */
  readonly #shared: (Buffer | undefined)[] = new Array<Buffer | undefined>(SESSION_BUCKETS).fill(undefined);

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  #bucketKey(bucket: number, name: string): string {
    return `${this.#prefix}:{b${bucket}}:${name}`;
  }

  meta(clientId: string): string {
    return `${this.#prefix}:{b${bucketOf(clientId)}}:s:${clientId}`;
  }

  queue(clientId: string): string {
    return `${this.#prefix}:{b${bucketOf(clientId)}}:q:${clientId}`;
  }

  marks(clientId: string): string {
    return `${this.#prefix}:{b${bucketOf(clientId)}}:m:${clientId}`;
  }

  notes(clientId: string): string {
    return `${this.#prefix}:{b${bucketOf(clientId)}}:n:${clientId}`;
  }

  inbound(clientId: string): string {
    return `${this.#prefix}:{b${bucketOf(clientId)}}:i:${clientId}`;
  }

  groupMarks(clientId: string): string {
    return `${this.#prefix}:{b${bucketOf(clientId)}}:g:${clientId}`;
  }

  orphaned(bucket: number): string {
    return this.#bucketKey(bucket, 'orphaned');
  }

  rows(bucket: number): string {
    return this.#bucketKey(bucket, 'rows');
  }

  due(bucket: number): string {
    return this.#bucketKey(bucket, 'due');
  }

  taken(bucket: number): string {
    return this.#bucketKey(bucket, 'taken');
  }

  takenAt(bucket: number): string {
    return this.#bucketKey(bucket, 'takenat');
  }

  marked(bucket: number): string {
    return this.#bucketKey(bucket, 'marked');
  }

  counts(bucket: number): string {
    return this.#bucketKey(bucket, 'counts');
  }

  held(bucket: number, incarnation: string): string {
    return this.#bucketKey(bucket, `held:${incarnation}`);
  }

  /** Writes SESSION_KEYS as arguments. `incarnation`: the node whose index of held sessions the script writes. */
  writeSession(writer: CommandWriter, clientId: string, incarnation: string): void {
    const bucket = bucketOf(clientId);
    const base = `${this.#prefix}:{b${bucket}}:`;
    // All of one length, put together as one text: sixteen keys one by one cost more than all else of a call.
    const head = `$${Buffer.byteLength(base) + 2 + Buffer.byteLength(clientId)}\r\n${base}`;
    const tail = `:${clientId}\r\n`;
    const held = this.held(bucket, incarnation);
    let text = '';
    for (const name of CLIENT_NAMES) text += head + name + tail;
    text += `$${Buffer.byteLength(held)}\r\n${held}\r\n`;
    writer.argumentText(text, CLIENT_NAMES.length + 1);
    let shared = this.#shared[bucket];
    if (shared === undefined) {
      shared = encodeArguments(BUCKET_NAMES.map((name) => base + name));
      this.#shared[bucket] = shared;
    }
    writer.arguments(shared, BUCKET_NAMES.length);
  }

  retained(shard: number) {
    const base = `${this.#prefix}:{r${shard}}:`;
    return {
      values: `${base}values`,
      index: `${base}index`,
      state: `${base}state`,
      deadlines: `${base}deadlines`,
      marks: `${base}marks`,
    };
  }

  payloadBody(payloadId: string): string {
    return `${this.#prefix}:{p${payloadBucketOf(payloadId)}}:b:${payloadId}`;
  }

  payloadDone(payloadId: string): string {
    return `${this.#prefix}:{p${payloadBucketOf(payloadId)}}:d:${payloadId}`;
  }

  payloadDeadlines(bucket: number): string {
    return `${this.#prefix}:{p${bucket}}:deadlines`;
  }

  inbox(incarnation: string): string {
    return `${this.#prefix}:{n${incarnation}}:inbox`;
  }

  inboxState(incarnation: string): string {
    return `${this.#prefix}:{n${incarnation}}:state`;
  }

  get log(): string {
    return `${this.#prefix}:{cl}:log`;
  }

  get logState(): string {
    return `${this.#prefix}:{cl}:logstate`;
  }

  get leases(): string {
    return `${this.#prefix}:{cl}:leases`;
  }

  nodeRoutes(incarnation: string): string {
    return `${this.#prefix}:{cl}:routes:${incarnation}`;
  }

  cleanupLock(incarnation: string): string {
    return `${this.#prefix}:{cl}:lock:${incarnation}`;
  }
}
