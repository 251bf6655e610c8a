// Makes subscriptions known: what this node's routes or a session's row changed goes to the route log, and whoever asked
// waits until every live node has applied it. A node's route that is being announced for one client is waited for by the
// next one too: its SUBACK must not leave earlier. Invariant: changes go to the log in the order in which they happened.

import type { LogRecord, RouteChange } from '../routing/log-codec.ts';
import { stopPoint } from '../util/stop-point.ts';

export interface AnnouncerOptions {
  readonly incarnation: string;
  /** Appends to the route log in the order of the calls; answers the entry's version. */
  append(entry: LogRecord): Promise<number>;
  /** Resolves when every live node has applied `version`. */
  reached(version: number): Promise<void>;
}

export class Announcer {
  readonly #options: AnnouncerOptions;
  #changes: RouteChange[] = [];
  readonly #announcing = new Map<string, Promise<unknown>>();

  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  /** What LocalRoutes tells: collected until the next announcement or flush of the same turn. */
  readonly onRouteChanges = (changes: readonly RouteChange[]): void => {
    for (const change of changes) this.#changes.push(change);
  };

  /**
   * Appends what was collected and, if given, a session's row, and waits until it is known everywhere. Answers the
   * highest version (0 when there was nothing to append). `filters` are those that the caller relies on. A subscription
   * that reads retained messages `needsVersion` of its own, also where it changes no route: a message that this node had
   * before and that is not retained yet was matched under the version there was, and its write must be refused.
   */
  async announce(row: LogRecord | null, filters: readonly string[], needsVersion: boolean): Promise<number> {
    const appends: Promise<number>[] = [];
    const changes = this.#takeChanges();
    if (changes.length > 0 || (needsVersion && row === null)) appends.push(this.#appendRoutes(changes));
    if (row !== null) appends.push(this.#options.append(row));
    const known = this.#reach(appends);
    const added = changes.filter((change) => change.flags !== '');
    for (const { filter } of added) this.#announcing.set(filter, known);
    try {
      const others = filters.map((filter) => this.#announcing.get(filter)).filter((one) => one !== known);
      const version = await known;
      await Promise.all(others);
      return version;
    } finally {
      for (const { filter } of added) {
        if (this.#announcing.get(filter) === known) this.#announcing.delete(filter);
      }
    }
  }

  /** Resolves when every live node has applied `version`, which this node has appended. */
  known(version: number): Promise<void> {
    return this.#options.reached(version);
  }

  /** Appends what was collected, for changes that nobody waits for: a connection ended, a session was resumed. */
  flush(): void {
    const changes = this.#takeChanges();
    // An append fails only when the store is closed: this node's routes end with it.
    if (changes.length > 0) this.#appendRoutes(changes).catch(() => {});
  }

  async #reach(appends: readonly Promise<number>[]): Promise<number> {
    if (appends.length === 0) return 0;
    const version = Math.max(...(await Promise.all(appends)));
    stopPoint('subscribe/appended');
    await this.#options.reached(version);
    return version;
  }

  #takeChanges(): RouteChange[] {
    const changes = this.#changes;
    if (changes.length > 0) this.#changes = [];
    return changes;
  }

  #appendRoutes(changes: readonly RouteChange[]): Promise<number> {
    return this.#options.append({ kind: 'routes', incarnation: this.#options.incarnation, changes });
  }
}
