// The admin HTTP: /livez, /readyz, /metrics and a small index. It knows nothing of MQTT or the store; what it shows it
// asks of the callbacks it was given. The only folder that knows fastify.

import fastify, { type FastifyInstance } from 'fastify';
import { SwarmqError } from '../util/errors.ts';

/** The answer of /readyz. */
export interface Readiness {
  readonly ready: boolean;
  /** Sentences; empty when ready, but where others of a machine's workers are. */
  readonly reasons: readonly string[];
  /** State of the node: "starting", "ready", "degraded" ... */
  readonly state: string;
}

/** What the pages show. */
export interface AdminViews {
  readonly nodeName: string;
  readonly version: string;
  readiness(): Readiness;
  /** Body of /metrics. */
  metricsText(): Promise<string>;
  readonly metricsContentType: string;
  /** The processes behind the ports, where there are several. */
  workers?(): readonly object[];
}

export interface AdminOptions extends AdminViews {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
}

/** By which the views of a node are seen: this server, or for a worker the process that supervises it. */
export interface AdminEnd {
  /** Resolves with the port, null where there is none. */
  open(): Promise<number | null>;
  close(): Promise<void>;
}

export class AdminServer implements AdminEnd {
  readonly #options: AdminOptions;
  readonly #http: FastifyInstance;

  constructor(options: AdminOptions) {
    this.#options = options;
    this.#http = fastify({ logger: false, forceCloseConnections: true, bodyLimit: 65_536 });
    this.#addRoutes();
  }

  /** Opens the port and returns it. Throws SWARMQ_ERR_LISTEN. */
  async open(): Promise<number> {
    const { host, port } = this.#options;
    try {
      await this.#http.listen({ host, port });
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code ?? String(error);
      throw new SwarmqError('SWARMQ_ERR_LISTEN', `admin on ${host}:${port} (${reason})`, { cause: error });
    }
    const address = this.#http.server.address();
    return typeof address === 'object' && address ? address.port : port;
  }

  /** Closes the port and what is connected to it. */
  async close(): Promise<void> {
    await this.#http.close();
  }

  #addRoutes(): void {
    const { nodeName, version, readiness, metricsText, metricsContentType, workers } = this.#options;
    this.#http.get('/', async () => ({
      name: 'swarmq',
      version,
      node: nodeName,
      state: readiness().state,
      pages: ['/livez', '/readyz', '/metrics'],
      ...(workers && { workers: workers() }),
    }));
    // Alive is whoever can answer: a node that cannot reach its store must not be restarted for it.
    this.#http.get('/livez', async () => ({ alive: true, state: readiness().state }));
    this.#http.get('/readyz', async (_request, reply) => {
      const answer = readiness();
      return reply.code(answer.ready ? 200 : 503).send(answer);
    });
    this.#http.get('/metrics', async (_request, reply) =>
      reply.type(metricsContentType).send(await metricsText()),
    );
  }
}
