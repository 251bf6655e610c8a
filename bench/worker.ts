// A generator process. It does what the main process asks for, one request at a time: connect and start a load, mark, store
// and fetch, finish; or gather and disperse a crowd. It is told its job first, and measures with its own clock.

import { fetchStored, store } from './away.ts';
import { Crowd } from './crowd.ts';
import type { CrowdJob, CrowdReport, LoadCounts, LoadJob, LoadReport } from './job.ts';
import { Load } from './load.ts';

/** What can be asked, and the shape of each answer. */
export interface Answers {
  connect: undefined;
  start: undefined;
  mark: LoadCounts;
  store: undefined;
  /** Microseconds from CONNECT to the first message, one for each subscriber. */
  fetch: number[];
  finish: LoadReport;
  prepare: undefined;
  gather: CrowdReport;
  /** Who was disconnected. */
  disperse: string[];
}

export type Request =
  | { kind: 'connect'; job: LoadJob }
  | { kind: 'start' | 'mark' | 'fetch' | 'finish' | 'gather' | 'disperse' }
  | { kind: 'store'; messages: number }
  | { kind: 'prepare'; job: CrowdJob };

export type Answer = { result: Answers[keyof Answers] } | { error: string };

let load: Load | undefined;
let crowd: Crowd | undefined;

async function answer(request: Request): Promise<Answers[keyof Answers]> {
  if (request.kind === 'connect') {
    load = new Load(request.job);
    return load.connect().then(() => undefined);
  }
  if (request.kind === 'prepare') {
    crowd = new Crowd(request.job);
    return crowd.prepare().then(() => undefined);
  }
  if (request.kind === 'gather') return crowd!.gather();
  if (request.kind === 'disperse') return crowd!.disperse();
  if (!load) throw new Error('no job yet');
  switch (request.kind) {
    case 'start':
      load.start();
      return undefined;
    case 'mark':
      return load.mark();
    case 'store':
      return store(load, request.messages).then(() => undefined);
    case 'fetch':
      return fetchStored(load);
    case 'finish':
      return load.finish();
  }
}

process.on('message', (request: Request) => {
  answer(request).then(
    (result) => process.send!({ result } satisfies Answer),
    (error: unknown) => process.send!({ error: String(error) } satisfies Answer),
  );
});
process.on('disconnect', () => process.exit(0));
