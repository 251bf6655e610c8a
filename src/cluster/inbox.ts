// Takes the entries of this node's inbox apart and gives each item to whom it concerns. An entry that cannot be read is
// a loss like any other: it is counted, and what it may have held is made good as after a gap in the inbox. An error of
// one item's handler must not cost the items behind it.

import type { Logger } from '../observability/logger.ts';
import type { NodeStats } from '../observability/node-stats.ts';
import type { Run } from '../store/inbox-run.ts';
import { AssertionError } from '../util/assert.ts';
import { InboxReader, type InboxVisitor, type LiveMessage } from './inbox-codec.ts';

export interface InboxOptions {
  readonly handlers: InboxVisitor;
  readonly stats: NodeStats;
  readonly logger: Logger;
  /** Items were lost: sessions must be looked at, as after StoreEvents.onInboxGap. */
  onDamage(): void;
}

export class Inbox implements InboxVisitor {
  readonly #options: InboxOptions;
  readonly #handlers: InboxVisitor;
  readonly #reader = new InboxReader();

  constructor(options: InboxOptions) {
    this.#options = options;
    this.#handlers = options.handlers;
  }

  /** StoreEvents.onInbox */
  receive(payloads: readonly Buffer[]): void {
    const { stats, logger, onDamage } = this.#options;
    for (const payload of payloads) {
      stats.inboxEntriesReceived++;
      try {
        this.#reader.read(payload, this);
      } catch (error) {
        if (error instanceof AssertionError) throw error;
        logger.error({ err: error }, 'an entry of the inbox cannot be read');
        onDamage();
      }
    }
  }

  onLive(message: LiveMessage): void {
    try {
      this.#handlers.onLive(message);
    } catch (error) {
      this.#fail(error);
    }
  }

  onMember(clientId: string, filter: string, message: LiveMessage): void {
    try {
      this.#handlers.onMember(clientId, filter, message);
    } catch (error) {
      this.#fail(error);
    }
  }

  onPush(clientId: string, life: number, seq: number, header: Buffer, body: Buffer): void {
    try {
      this.#handlers.onPush(clientId, life, seq, header, body);
    } catch (error) {
      this.#fail(error);
    }
  }

  onRun(run: Run): void {
    try {
      this.#handlers.onRun(run);
    } catch (error) {
      this.#fail(error);
    }
  }

  onTakeover(clientId: string, epoch: number, by: string): void {
    this.#options.stats.controlMessagesReceived++;
    try {
      this.#handlers.onTakeover(clientId, epoch, by);
    } catch (error) {
      this.#fail(error);
    }
  }

  onApplied(from: string, version: number): void {
    this.#options.stats.controlMessagesReceived++;
    this.#handlers.onApplied(from, version);
  }

  onAsk(from: string, version: number): void {
    this.#options.stats.controlMessagesReceived++;
    this.#handlers.onAsk(from, version);
  }

  onKeys(filter: string, clientId: string, rank: number, keys: string[]): void {
    this.#options.stats.controlMessagesReceived++;
    this.#handlers.onKeys(filter, clientId, rank, keys);
  }

  onAskKeys(from: string): void {
    this.#options.stats.controlMessagesReceived++;
    this.#handlers.onAskKeys(from);
  }

  #fail(error: unknown): void {
    // A broken invariant of ours ends the process; anything else concerns this item alone.
    if (error instanceof AssertionError) throw error;
    this.#options.logger.error({ err: error }, 'an item of the inbox was not taken');
  }
}
