// One node process: its listeners, its admin port, its state, and the incarnation that serves behind them. The listeners
// outlive an incarnation: when one is declared dead, its connections are closed and the next one takes the new ones.

import type { Socket } from 'node:net';
import { type AdminEnd, AdminServer, type AdminViews } from './admin/admin-server.ts';
import { ControlBus } from './cluster/control-bus.ts';
import type { CompiledConfig } from './config/compile.ts';
import { AedesShell } from './connection/aedes-shell.ts';
import { Incarnation } from './incarnation.ts';
import type { ByteStream } from './listener/byte-stream.ts';
import { Listeners } from './listener/listeners.ts';
import { createLogger, type Logger } from './observability/logger.ts';
import { Metrics } from './observability/metrics.ts';
import { Limit, type LimitName, type NodeState, NodeStats } from './observability/node-stats.ts';
import { watchStalls } from './observability/stall-watch.ts';
import { VERSION } from './observability/version.ts';
import { makeStore } from './store/open.ts';
import { newStoreCounters } from './store/redis/options.ts';
import { SystemFigures } from './system-figures.ts';
import { type Clock, delay, systemClock, type Timer } from './util/clock.ts';
import { type Random, systemRandom } from './util/random.ts';
import { warmUp } from './warm-up.ts';

export interface RunningNode {
  /** Ports that are open, by listener name, and the admin port. */
  readonly ports: { readonly listeners: Record<string, number>; readonly admin: number | null };
  /** Reads the certificate files of the listeners again, for new connections; those that cannot be used are logged. */
  reload(): void;
  stop(): Promise<void>;
}

/** What stands before a node that opens no ports: the process that has them and accepts. */
export interface Front {
  /** Calls `take` for each connection that is this node's, from now on. */
  onConnection(take: (listener: string, socket: Socket) => void): void;
  /** Shows these instead of an admin port. */
  show(views: AdminViews): AdminEnd;
}

/** What tests put in the place of the system, and a worker in the place of ports. */
export interface NodeMeans {
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly front?: Front;
}

/** Pause before the next incarnation is tried when one could not start. */
const RESTART_MS = 1000;

/** Starts a node. Resolves when it serves clients; throws a SwarmqError when it cannot (ports, an unfit store). */
export async function startNode(config: CompiledConfig, means: NodeMeans = {}): Promise<RunningNode> {
  const node = new Node(config, means, await AedesShell.create());
  try {
    await node.start();
  } catch (error) {
    await node.stop();
    throw error;
  }
  return node;
}

class Node implements RunningNode {
  readonly #config: CompiledConfig;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #shell: AedesShell;
  readonly #stats = new NodeStats();
  readonly #counters = newStoreCounters((durationMs, operations) => {
    this.#stats.commitDuration.observe(durationMs / 1000);
    this.#stats.commitBatchMessages.observe(operations);
  });
  readonly #metrics: Metrics;
  readonly #listeners: Listeners;
  readonly #front: Front | undefined;
  readonly #admin: AdminEnd | null;
  readonly #figures: SystemFigures;
  readonly #stalls: Timer;
  #incarnation: Incarnation | null = null;
  #adminPort: number | null = null;
  #isStopping = false;

  constructor(config: CompiledConfig, means: NodeMeans, shell: AedesShell) {
    this.#config = config;
    this.#clock = means.clock ?? systemClock;
    this.#random = means.random ?? systemRandom;
    this.#logger = means.logger ?? createLogger(config.log.level, config.node.name);
    this.#shell = shell;
    this.#listeners = new Listeners({
      listeners: config.listeners,
      maxMessageBytes: config.limits.maxPacketSizeBytes * 2,
      clock: this.#clock,
      events: {
        onStream: (stream) => this.#accept(stream),
        onAccepted: (listener) => this.#count(listener, 1),
        onClosed: (listener) => this.#count(listener, -1),
        onRefused: (_listener, limit) => {
          this.#stats.limitRejections[Limit[limit.toUpperCase() as Uppercase<LimitName>]]++;
        },
        onError: (listener, error) => this.#logger.error({ listener, err: error }, 'a listener fails'),
      },
    });
    this.#front = means.front;
    // One page shows the metrics of all workers: their lines need a name.
    this.#metrics = new Metrics(this.#stats, true, means.front ? { node: config.node.name } : {});
    this.#admin = this.#makeAdmin();
    this.#figures = new SystemFigures({
      bus: new ControlBus({
        redis: config.redis,
        onMessage: (payload) => this.#figures.heard(payload),
        onTraffic: (direction) => {
          if (direction === 'sent') this.#stats.controlMessagesSent++;
          else this.#stats.controlMessagesReceived++;
        },
      }),
      clock: this.#clock,
      stats: this.#stats,
      counters: this.#counters,
      intervalMs: config.sys.intervalMs,
      incarnation: () => this.#incarnation,
    });
    this.#stalls = watchStalls(this.#clock, this.#stats, config.cluster.leaseMs / 3, (stallMs) =>
      this.#logger.warn({ stallMs: Math.round(stallMs) }, 'the event loop stood still'),
    );
  }

  #makeAdmin(): AdminEnd | null {
    const { admin, node } = this.#config;
    const views: AdminViews = {
      nodeName: node.name,
      version: VERSION,
      readiness: () => this.#readiness(),
      metricsText: async () => {
        await this.#figures.refresh();
        return this.#metrics.text();
      },
      metricsContentType: this.#metrics.contentType,
    };
    if (this.#front) return this.#front.show(views);
    return admin === null ? null : new AdminServer({ ...admin, ...views });
  }

  get ports(): RunningNode['ports'] {
    return { listeners: Object.fromEntries(this.#listeners.ports()), admin: this.#adminPort };
  }

  /** The admin port answers from the beginning, so that /readyz can say what is being waited for. */
  async start(): Promise<void> {
    if (this.#admin !== null) this.#adminPort = await this.#admin.open();
    await warmUp(this.#config).catch((error: unknown) => this.#logger.warn({ err: error }, 'no warm-up'));
    await this.#begin(await this.#make());
    if (this.#front) this.#front.onConnection((name, socket) => this.#listeners.take(name, socket));
    else await this.#listeners.open();
    this.#figures.start();
    this.#setState('ready');
  }

  reload(): void {
    this.#logger.info({}, 'reading the certificates of the listeners again');
    this.#listeners.reloadTls((listener, error) =>
      this.#logger.error({ listener, err: error }, 'new certificate files cannot be used: the old ones stay'),
    );
  }

  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#setState('draining');
    this.#listeners.close();
    await this.#figures.stop();
    await this.#incarnation?.stop();
    this.#listeners.destroyConnections();
    await this.#shell.close();
    await this.#admin?.close();
    this.#stalls.cancel();
    this.#setState('stopped');
  }

  /** The next incarnation: from now on it takes the new connections, whose CONNECTs wait until it serves. */
  async #make(): Promise<Incarnation> {
    const incarnation = new Incarnation({
      config: this.#config,
      store: await makeStore(this.#config, {
        clock: this.#clock,
        random: this.#random,
        log: (level, message, fields) => this.#logger[level]({ module: 'store', ...fields }, message),
        counters: this.#counters,
      }),
      shell: this.#shell,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      stats: this.#stats,
      onDead: () => this.#restart(incarnation),
      onChange: () => this.#judge(),
    });
    this.#incarnation = incarnation;
    return incarnation;
  }

  async #begin(incarnation: Incarnation): Promise<void> {
    await incarnation.start();
    this.#logger.info({ incarnation: incarnation.id, store: incarnation.store.kind }, 'serving');
  }

  /** The incarnation was declared dead: everything of it is thrown away, and the next one begins. */
  #restart(dead: Incarnation): void {
    if (this.#incarnation !== dead || this.#isStopping) return;
    this.#incarnation = null;
    this.#logger.warn({ incarnation: dead.id }, 'this node was declared dead: it begins anew');
    this.#setState('degraded');
    this.#beginAnew(dead).catch((error: unknown) => {
      this.#logger.error({ err: error }, 'a new incarnation could not begin');
      this.#setState('failed');
    });
  }

  async #beginAnew(dead: Incarnation): Promise<void> {
    let last = dead;
    while (!this.#isStopping) {
      const next = await this.#make();
      await last.abandon();
      try {
        await this.#begin(next);
        this.#setState('ready');
        return;
      } catch (error) {
        this.#logger.error({ err: error }, 'a new incarnation could not begin');
        await delay(this.#clock, RESTART_MS);
        last = next;
      }
    }
  }

  #accept(stream: ByteStream): void {
    const incarnation = this.#incarnation;
    if (incarnation === null || this.#isStopping) stream.destroy();
    else incarnation.connections.accept(stream);
  }

  #count(listener: string, change: number): void {
    const { connections } = this.#stats;
    connections.set(listener, (connections.get(listener) ?? 0) + change);
    if (change > 0) this.#stats.connectionsOpened++;
    else this.#stats.connectionsClosed++;
  }

  #readiness(): { ready: boolean; reasons: string[]; state: string } {
    const { state } = this.#stats;
    const reasons = this.#incarnation?.reasons() ?? ['the node begins a new incarnation'];
    if (state !== 'ready' && reasons.length === 0) reasons.push(`the node is ${state}`);
    return { ready: reasons.length === 0, reasons, state };
  }

  /** Ready and degraded follow from what the incarnation says. */
  #judge(): void {
    const { state } = this.#stats;
    if (state !== 'ready' && state !== 'degraded') return;
    this.#setState((this.#incarnation?.reasons().length ?? 1) === 0 ? 'ready' : 'degraded');
  }

  #setState(state: NodeState): void {
    const before = this.#stats.state;
    if (before === state) return;
    this.#stats.state = state;
    this.#logger.info({ state, before }, 'the node changed its state');
  }
}
