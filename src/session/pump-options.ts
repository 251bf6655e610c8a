// What a pump is given: the claim it goes by, its limits, and whom it tells what. Nothing of it changes while the pump lives,
// but for what the functions answer.

import type { PacketIdRange } from '../mqtt/packet-id.ts';
import type { NodeStats } from '../observability/node-stats.ts';
import type { Owner } from '../store/operations.ts';
import type { Store } from '../store/store.ts';
import type { SwarmqError } from '../util/errors.ts';
import type { SharedPayloads } from './shared-payloads.ts';

export interface PumpOptions {
  readonly store: Store;
  readonly payloads: SharedPayloads;
  readonly stats: NodeStats;
  readonly clientId: string;
  readonly owner: Owner;
  /** As the claim answered them. */
  readonly head: number;
  readonly tail: number;
  readonly sent: number;
  /** Something may wait that the claim did not tell of. */
  readonly mayWait: boolean;
  /** Most sequence numbers in flight, holes counted: `limits.maxInflightMessages`. */
  readonly inflightMax: number;
  /** Bytes asked for in one pull. */
  readonly pullBytes: number;
  /** The identifiers it may use. */
  readonly ids: PacketIdRange;
  /** What the session's other way out has in flight: the client's Receive Maximum counts both. */
  inflightBeside(): number;
  /** Somebody else owns the session now. */
  onFenced(): void;
  /** A message that was published with the retain flag is about to be sent. */
  onRetained(body: Buffer): void;
  /** The entry `seq`, a retained copy, is about to leave; answers whether it is too old for that. */
  isOldCopy(seq: number): boolean;
  /**
   * An entry has a version that this node does not know, and is left for a newer one; or the queue ends before what was
   * sent of it. Nothing is sent any more.
   */
  onUnreadable(error: unknown): void;
  /** An entry is damaged, for any node. It is passed over and left where it is. */
  onDamaged(error: SwarmqError): void;
}
