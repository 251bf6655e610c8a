// The process above the workers of one machine: opens the ports they share and the admin port, starts them, starts again
// who dies, ends them. Each worker is a whole node of the cluster, which knows nothing of the others but by the store;
// this process holds no session and no message, so that its death costs what the death of the nodes costs, no more.

import { AdminServer, type Readiness } from '../admin/admin-server.ts';
import type { CompiledConfig } from '../config/compile.ts';
import { createLogger, type Logger } from '../observability/logger.ts';
import { VERSION } from '../observability/version.ts';
import { joinPages, WorkerMetrics, type WorkersStats } from '../observability/worker-metrics.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';
import { Child } from './child.ts';
import type { FromWorker, ToWorker } from './messages.ts';
import { SharedPorts } from './shared-ports.ts';
import { Worker, type WorkerEvents } from './worker.ts';

const TICK_MS = 1000;

export interface SupervisorOptions {
  readonly config: CompiledConfig;
  /** The words that run the worker of this name. */
  command(name: string): readonly string[];
  readonly clock: Clock;
}

/** What is open when all workers are ready. */
export interface Opened {
  readonly ports: { readonly listeners: Record<string, number>; readonly admin: number | null };
  readonly workers: readonly { readonly name: string; readonly pid: number }[];
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #logger: Logger;
  readonly #workers: readonly Worker[];
  readonly #children: readonly Child[];
  readonly #ports: SharedPorts;
  readonly #admin: AdminServer | null;
  readonly #ticks: Timer;
  #state: 'starting' | 'ready' | 'draining' = 'starting';
  #deaths = 0;
  #refused = 0;

  constructor(options: SupervisorOptions) {
    const { config, clock } = options;
    this.#options = options;
    this.#logger = createLogger(config.log.level, config.node.name).child({ module: 'workers' });
    const events: WorkerEvents = {
      onTaken: () => this.#ports.dispatch(),
      onReturned: (listener, socket) => this.#ports.takeBack(listener, socket),
      onLost: () => this.#refused++,
    };
    this.#workers = Array.from(
      { length: config.workers },
      (_, index) => new Worker(`${config.node.name}-${index + 1}`, clock, events),
    );
    this.#children = this.#workers.map((worker) => this.#makeChild(worker));
    this.#ports = new SharedPorts({
      listeners: config.listeners,
      takers: this.#workers,
      clock,
      onRefused: () => this.#refused++,
      onError: (listener, error) => this.#logger.error({ listener, err: error }, 'a listener fails'),
    });
    this.#admin = config.admin === null ? null : this.#makeAdmin(config.admin);
    this.#ticks = clock.every(TICK_MS, () => this.#tick());
  }

  /**
   * Resolves when all workers are ready and the ports are open. Throws SWARMQ_ERR_WORKER_START when a worker cannot be
   * started, SWARMQ_ERR_LISTEN when a port cannot be opened; nothing is left then.
   */
  async start(): Promise<Opened> {
    try {
      const admin = this.#admin === null ? null : await this.#admin.open();
      await Promise.all(this.#children.map((child) => child.start())).catch((error: Error) => {
        throw new SwarmqError('SWARMQ_ERR_WORKER_START', error.message);
      });
      await Promise.all(this.#workers.map((worker) => worker.whenReady));
      const listeners = await this.#ports.open();
      this.#state = 'ready';
      const workers = this.#workers.map(({ name, pid }) => ({ name, pid }));
      this.#logger.info({ workers }, 'all workers are ready');
      return { ports: { listeners, admin }, workers };
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** All workers read the certificates of the listeners again. */
  reload(): void {
    for (const worker of this.#workers) worker.reload();
  }

  /** Ends the workers cleanly, side by side. Resolves with whether all of them did end so. */
  async stop(): Promise<boolean> {
    this.#state = 'draining';
    this.#ticks.cancel();
    this.#ports.close();
    const ends = await Promise.all(
      this.#children.map(async (child) => {
        // One that was only starting has nothing to end, and may end by the signal itself.
        const wasReady = child.isReady;
        const how = await child.stop();
        return wasReady ? how : undefined;
      }),
    );
    await this.#admin?.close();
    const unclean = ends.filter((how) => how !== undefined && how !== 'exit code 0');
    if (unclean.length > 0) this.#logger.error({ ends: unclean }, 'workers did not end cleanly');
    return unclean.length === 0;
  }

  /** Ends the workers at once. */
  kill(): void {
    for (const child of this.#children) child.kill();
  }

  #makeChild(worker: Worker): Child {
    const { config, command, clock } = this.#options;
    const own = { ...config, node: { ...config.node, name: worker.name }, workers: 1, admin: null };
    const child = new Child({
      name: worker.name,
      command: () => command(worker.name),
      greeting: { kind: 'config', config: own } satisfies ToWorker,
      onMessage: (message) => worker.receive(message as FromWorker),
      onLine: (line) => line.startsWith('swarmq is ready: '),
      onDeath: (how, restartMs) => {
        worker.died();
        this.#deaths++;
        this.#logger.warn({ worker: worker.name, how, restartMs }, 'a worker died: it is started again');
      },
      onReturn: () => {
        this.#logger.info({ worker: worker.name, pid: worker.pid }, 'a worker is back');
        this.#ports.dispatch();
      },
      restarts: true,
      clock,
    });
    worker.child = child;
    return child;
  }

  #makeAdmin(place: { host: string; port: number }): AdminServer {
    const metrics = new WorkerMetrics(this.#stats(), this.#options.config.node.name);
    return new AdminServer({
      ...place,
      nodeName: this.#options.config.node.name,
      version: VERSION,
      readiness: () => this.#readiness(),
      metricsText: async () =>
        joinPages(await Promise.all([metrics.text(), ...this.#workers.map((worker) => worker.metrics())])),
      metricsContentType: metrics.contentType,
      workers: () => this.#workers.map((worker) => worker.summary),
    });
  }

  #stats(): WorkersStats {
    const supervisor = this;
    return {
      workers: this.#workers.length,
      get workersReady() {
        return supervisor.#workers.filter((worker) => worker.isReady).length;
      },
      get workerDeaths() {
        return supervisor.#deaths;
      },
      get connectionsWaiting() {
        return supervisor.#ports.waiting;
      },
      get connectionsRefused() {
        return supervisor.#refused;
      },
    };
  }

  /** The machine takes clients while one worker does: they all serve everybody. */
  #readiness(): Readiness {
    const reasons = this.#workers.flatMap(({ name, reasons }) =>
      reasons.map((reason) => `${name}: ${reason}`),
    );
    if (this.#state !== 'ready') {
      return { ready: false, reasons: [`the node is ${this.#state}`, ...reasons], state: this.#state };
    }
    const ready = this.#workers.some((worker) => worker.isReady);
    return { ready, reasons, state: reasons.length === 0 ? 'ready' : 'degraded' };
  }

  #tick(): void {
    for (const [index, worker] of this.#workers.entries()) {
      if (!worker.tick()) continue;
      this.#logger.error({ worker: worker.name, pid: worker.pid }, 'a worker does not answer: it is killed');
      (this.#children[index] as Child).kill();
    }
  }
}
