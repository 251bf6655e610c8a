// One node of a simulation: what node.ts makes of an incarnation, without listeners and HTTP. A process of its own on
// the virtual time, so that it can be killed, frozen, cut off and started again, and begins anew when it finds its own
// tombstone. Everything inside is the code that a real node runs.

import { AedesShell } from '../../src/connection/aedes-shell.ts';
import { Incarnation } from '../../src/incarnation.ts';
import type { Logger } from '../../src/observability/logger.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import type { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import type { Operation } from '../../src/store/operations.ts';
import { delay } from '../../src/util/clock.ts';
import { type Random, seededRandom } from '../../src/util/random.ts';
import { Process, type VirtualTime } from './virtual-time.ts';
import { Wire, type WireClient } from './wire.ts';
import { CONFIG, type SimStore } from './world.ts';

export interface SimNodeOptions {
  readonly name: string;
  readonly time: VirtualTime;
  readonly store: SimStore;
  readonly random: Random;
  readonly logger: Logger;
}

export class SimNode {
  readonly name: string;
  stats = new NodeStats();
  process: Process;
  incarnation: Incarnation | null = null;
  store: EmbeddedStore | null = null;
  isServing = false;
  /** Incarnations begun, for people. */
  starts = 0;
  /** How often it found itself declared dead. */
  deaths = 0;
  readonly #options: SimNodeOptions;
  #shell: AedesShell | null = null;
  readonly #shells: AedesShell[] = [];
  readonly #wires = new Set<Wire>();

  constructor(options: SimNodeOptions) {
    this.#options = options;
    this.name = options.name;
    this.process = new Process(options.time);
    this.process.isDead = true;
  }

  get isUp(): boolean {
    return !this.process.isDead;
  }

  /** Starts the process; resolves when the shell stands, the rest follows on the virtual time. */
  async start(): Promise<void> {
    const { time } = this.#options;
    const { wallOffsetMs } = this.process;
    this.process = new Process(time);
    this.process.wallOffsetMs = wallOffsetMs;
    this.stats = new NodeStats();
    this.#shell = await AedesShell.create();
    this.#shells.push(this.#shell);
    void this.#begin(this.process);
  }

  async #begin(process: Process): Promise<void> {
    const { store, random, logger } = this.#options;
    this.starts++;
    const connection = store.connect(process);
    // What the world tells a process that stands still it learns when it goes on.
    const { open } = connection;
    connection.open = (events) =>
      open.call(connection, { ...events, onHistory: () => process.whenAwake(() => events.onHistory()) });
    this.store = connection;
    const incarnation: Incarnation = new Incarnation({
      config: CONFIG,
      store: connection,
      shell: this.#shell!,
      clock: process,
      random: seededRandom(random.below(2 ** 32)),
      logger,
      stats: this.stats,
      onDead: () => void this.#beginAnew(incarnation, process),
      onChange: () => {},
    });
    this.incarnation = incarnation;
    try {
      await incarnation.start();
    } catch (error) {
      // A node that is stopped or dies while it starts hears that its store is closed.
      if (this.incarnation === incarnation && !process.isDead) throw error;
      return;
    }
    if (this.incarnation === incarnation) this.isServing = true;
  }

  async #beginAnew(dead: Incarnation, process: Process): Promise<void> {
    if (this.incarnation !== dead || process.isDead) return;
    this.deaths++;
    this.incarnation = null;
    this.isServing = false;
    await dead.abandon();
    await delay(process, 0);
    if (!process.isDead) await this.#begin(process);
  }

  /** A device calls. Null when nobody listens. */
  accept(client: WireClient): Wire | null {
    const { time, random } = this.#options;
    if (!this.isUp || !this.isServing || this.incarnation === null) return null;
    const { process } = this;
    const wire = new Wire(time, random, process, client);
    for (const old of this.#wires) if (old.isClosedByClient || old.isClosedByNode) this.#wires.delete(old);
    this.#wires.add(wire);
    process.soon(() => {
      if (this.incarnation === null) wire.destroy();
      else this.incarnation.connections.accept(wire);
    });
    return wire;
  }

  /** SIGKILL: nothing of it runs any more; what it had sent to the store may. */
  kill(runsLate: (operation: Operation) => boolean): void {
    this.process.die();
    this.isServing = false;
    this.incarnation = null;
    this.store?.cut(runsLate);
    for (const wire of this.#wires) wire.nodeDied();
    this.#wires.clear();
  }

  /** SIGTERM: connections are closed, sessions released, the tombstone is written. */
  async stop(): Promise<void> {
    const { incarnation, process } = this;
    if (incarnation === null) return;
    this.isServing = false;
    this.incarnation = null;
    await incarnation.stop();
    process.isDead = true;
  }

  freeze(letsGo: boolean): void {
    this.process.freeze(letsGo);
  }

  thaw(): void {
    this.process.thaw();
  }

  /** Ends what Aedes keeps running; when the simulation is over. */
  close(): void {
    this.process.isDead = true;
    for (const shell of this.#shells.splice(0)) void shell.close();
  }
}
