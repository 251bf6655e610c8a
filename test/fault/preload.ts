// What the laboratory puts into a node's process beside the program (`node --import`): a wall clock that can be stepped
// from outside while the monotonic one goes on, and a refusal to die of writes that a file limit turns down, so that such a
// limit looks like a full disk. The program itself is untouched and knows nothing of it.

import { writeFileSync } from 'node:fs';

const SOURCE = `
import { readFileSync } from 'node:fs';
const now = Date.now;
let shift = 0;
Date.now = () => now() + shift;
process.on('SIGXFSZ', () => {});
process.on('SIGUSR2', () => { shift = Number(readFileSync(process.env.FAULT_CLOCK_SHIFT, 'utf8')); });
`;

/** The environment that makes a node load it; `shiftFile` is where the node looks for the shift of its clock. */
export function preloadEnvironment(shiftFile: string): Record<string, string> {
  return {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(SOURCE)}`,
    FAULT_CLOCK_SHIFT: shiftFile,
  };
}

/** Sets the wall clock of the process `pid` that far off, until it ends. */
export function shiftClock(pid: number, shiftFile: string, shiftMs: number): void {
  writeFileSync(shiftFile, String(shiftMs));
  process.kill(pid, 'SIGUSR2');
}
