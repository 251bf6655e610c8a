// A generator process. It does what the main process asks for, one request at a time: connect, start, mark, resume,
// finish. It is told its job first, and measures with its own clock.

import { Load, type LoadCounts, type LoadJob, type LoadReport } from './load.ts';
import { type ResumeFigures, runResume } from './resume.ts';

export type Request =
  | { kind: 'connect'; job: LoadJob }
  | { kind: 'start' }
  | { kind: 'mark' }
  | { kind: 'resume'; messages: number }
  | { kind: 'finish' };

export type Answer = { result: undefined | LoadCounts | LoadReport | ResumeFigures } | { error: string };

let load: Load | undefined;

async function answer(request: Request): Promise<undefined | LoadCounts | LoadReport | ResumeFigures> {
  if (request.kind === 'connect') {
    load = new Load(request.job);
    await load.connect();
    return undefined;
  }
  if (!load) throw new Error('no job yet');
  switch (request.kind) {
    case 'start':
      load.start();
      return undefined;
    case 'mark':
      return load.mark();
    case 'resume':
      return runResume(load, request.messages);
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
