// Connections without traffic: how fast they come, and that they stay. At most 64 of them are under way at a time, as with
// devices that back off; what they cost is measured outside, at the processes of the broker.

import { Bystander, inLanes } from './connection.ts';
import type { CrowdJob, CrowdReport } from './job.ts';
import { Histogram } from './tally.ts';
import { DISCONNECT, nowMicros } from './wire.ts';

const LANES = 64;

export class Crowd {
  readonly #job: CrowdJob;
  readonly #clients: Bystander[];

  constructor(job: CrowdJob) {
    this.#job = job;
    this.#clients = Array.from(
      { length: job.clients },
      (_, index) => new Bystander(`${job.name}-c${index}`, job),
    );
  }

  /**
   * Makes the sessions that are to come back, each with a subscription; they are away afterwards. Nobody leaves before all
   * have come: what a broker still owes to a subscription that is as old as its SUBACK, as retained messages are, would be
   * a part of coming back.
   */
  async prepare(): Promise<void> {
    const { name, port, isReturning } = this.#job;
    if (!isReturning) return;
    await inLanes(this.#clients, LANES, async (client, index) => {
      await client.open(port, false);
      await client.subscribe([`b/${name}/${index}/+`], 1);
    });
    for (const client of this.#clients) client.close(DISCONNECT);
  }

  /** Connects all of them. */
  async gather(): Promise<CrowdReport> {
    const { port, isClean } = this.#job;
    const latency = new Histogram();
    const started = nowMicros();
    await inLanes(this.#clients, LANES, async (client) => {
      const from = nowMicros();
      await client.open(port, isClean);
      latency.add((nowMicros() - from) >>> 0);
    });
    const micros = (nowMicros() - started) >>> 0;
    return { micros, connected: this.#clients.length, latency: latency.toPlain(), failures: [] };
  }

  /** Who was disconnected meanwhile; the others leave. */
  disperse(): string[] {
    const failures = this.#clients.flatMap(({ clientId, failure }) =>
      failure ? [`${clientId}: ${failure}`] : [],
    );
    for (const client of this.#clients) client.close(DISCONNECT);
    return failures;
  }
}
