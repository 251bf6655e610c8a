// The retained write, last phase of its message. A subscription that has read the shard raised its fence: a write matched
// before that subscription would leave its subscriber on the old value, so the store refuses it; the message goes first,
// as a retained copy, to those who subscribed since, and is written then. The last write per topic wins. A message at QoS 1
// that its publisher sends again on a later connection is left to that: a copy of this one might follow newer ones.

import { BodyView } from '../mqtt/message.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import { Limit, type NodeStats } from '../observability/node-stats.ts';
import { type RetainedWriter, RetainOperation } from '../store/operations.ts';
import { encodeRetained } from '../store/records.ts';
import { stopPoint } from '../util/stop-point.ts';
import type { Commit } from './commit.ts';

export interface RetainedPort {
  readonly stats: NodeStats;
  /** Version of the routes now. */
  version(): number;
  /** Gives the message to those it did not match before, each as one part of the commit. */
  copy(commit: Commit): void;
  /** Whether the publisher's session has a later connection: what was not answered is sent again there [MQTT-4.4.0-1]. */
  isSentAgain(writer: RetainedWriter): Promise<boolean>;
}

const view = new BodyView();

/** The record of a message, or null where its empty payload clears the topic [MQTT-3.3.1-6]. */
function recordOf(commit: Commit): Buffer | null {
  if (view.read(commit.body).payloadStart === commit.body.length) return null;
  return encodeRetained({
    qos: commit.qos,
    expiresAt: commit.expiresAt,
    ownExpiry: commit.ownExpiry,
    publisher: commit.publisher,
    body: commit.body,
  });
}

/**
 * Whether a later retained message of the topic is in line behind this one: it goes to the subscribers in question by
 * itself, or is refused and copied in its turn, and a copy of this one might follow it.
 */
function hasSuccessor(commit: Commit): boolean {
  for (let later = commit.next; later !== null; later = later.next) {
    if (later.retain && later.topic === commit.topic && !later.cancelled) return true;
  }
  return false;
}

export class RetainedWrite extends RetainOperation {
  readonly #commit: Commit;
  readonly #port: RetainedPort;
  /** Of the publisher's later connection; what is known is asked again where another fence refuses the write. */
  #later: 'unknown' | 'asked' | 'none' | 'there' = 'unknown';

  constructor(commit: Commit, port: RetainedPort) {
    const version = commit.version === 0 ? port.version() : commit.version;
    const mark = commit.writer === null ? commit.mark : null;
    super(commit.topic, recordOf(commit), commit.expiresAt, version, commit.writer, mark);
    this.#commit = commit;
    this.#port = port;
  }

  override complete(): void {
    const commit = this.#commit;
    if (this.failed) return;
    stopPoint('publish/retained');
    if (this.status === 'stale') {
      this.#goOn();
      return;
    }
    if (this.status === 'full') {
      this.#port.stats.limitRejections[Limit.RETAINED_MESSAGES]++;
      commit.reasonCode = ReasonCode.QUOTA_EXCEEDED;
    }
    commit.done();
  }

  /** Writes again, in its place before later writes of the topic: these bring newer values, and newer copies. */
  #goOn(): void {
    const commit = this.#commit;
    const mayCopy = !hasSuccessor(commit);
    this.again = true;
    this.againLater = this.#port.version() < this.fence || (mayCopy && !this.#isLaterKnown());
    if (this.againLater) return;
    if (mayCopy && this.#later === 'there') {
      this.again = false;
      commit.isFenced = true;
      commit.done();
      return;
    }
    this.version = this.#port.version();
    this.#later = 'unknown';
    if (mayCopy) this.#port.copy(commit);
  }

  #isLaterKnown(): boolean {
    const { writer, qos } = this.#commit;
    // At QoS 0 nothing is sent again; at QoS 2 a queue knows by its mark what it has.
    if (writer === null || qos === 0) return true;
    if (this.#later === 'unknown') {
      this.#later = 'asked';
      this.#port.isSentAgain(writer).then(
        (isThere) => {
          this.#later = isThere ? 'there' : 'none';
        },
        () => {
          this.#later = 'none';
        },
      );
    }
    return this.#later !== 'asked';
  }
}
