// The only place where key strings are made; keyspace-table.ts says what each of them holds. All keys of a session lie in one of 256 buckets that its client id
// chooses, so that one script can take many sessions of a bucket in a Redis Cluster; keys that serve the whole cluster
// share one tag. The bucket function is part of the stored format: it never changes.

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

/** The keys of one session, in the order in which its control scripts declare them (includes/session-keys.lua). */
export interface SessionKeys {
  readonly meta: string;
  readonly queue: string;
  readonly marks: string;
  readonly notes: string;
  readonly inbound: string;
  readonly rows: string;
  readonly wills: string;
  readonly readings: string;
  readonly due: string;
  readonly taken: string;
  readonly takenAt: string;
  readonly marked: string;
  readonly counts: string;
  readonly held: string;
  readonly orphans: string;
  readonly orphaned: string;
}

export class Keyspace {
  readonly #prefix: string;

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

  /** `incarnation`: the node whose index of held sessions the script writes. */
  session(clientId: string, incarnation: string): SessionKeys {
    const bucket = bucketOf(clientId);
    const base = `${this.#prefix}:{b${bucket}}:`;
    return {
      meta: `${base}s:${clientId}`,
      queue: `${base}q:${clientId}`,
      marks: `${base}m:${clientId}`,
      notes: `${base}n:${clientId}`,
      inbound: `${base}i:${clientId}`,
      rows: this.rows(bucket),
      wills: this.#bucketKey(bucket, 'wills'),
      readings: this.#bucketKey(bucket, 'readings'),
      due: this.due(bucket),
      taken: this.taken(bucket),
      takenAt: this.takenAt(bucket),
      marked: this.marked(bucket),
      counts: this.counts(bucket),
      held: this.held(bucket, incarnation),
      orphans: `${base}o:${clientId}`,
      orphaned: this.orphaned(bucket),
    };
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
