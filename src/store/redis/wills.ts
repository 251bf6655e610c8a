// Reads taken wills out of the replies of the scripts that take them. One that cannot be read is told once and left in the
// index, maybe for a newer node; it never keeps its session or other wills from being handled.

import { decodeWill } from '../records.ts';
import type { TakenWill } from '../store.ts';
import type { StoreLog } from './options.ts';
import { asList, asText, type Reply } from './resp.ts';

/** Wills that have been told, at most; beyond it they may be told again. */
const TOLD_MAX = 1000;

export class WillReader {
  readonly #log: StoreLog;
  readonly #told = new Set<string>();

  constructor(log: StoreLog) {
    this.#log = log;
  }

  /** `reply`: list of {mid, will}, with a third part where it is in doubt. */
  read(clientId: string, reply: Reply | undefined): TakenWill[] {
    const wills: TakenWill[] = [];
    for (const one of asList(reply)) {
      const [mid, will, doubt] = asList(one);
      const id = asText(mid);
      try {
        const isInDoubt = doubt !== undefined;
        wills.push({ clientId, id, mid: Number(id), will: decodeWill(will as Buffer), isInDoubt });
      } catch (error) {
        this.#tell(clientId, id, error);
      }
    }
    return wills;
  }

  #tell(clientId: string, id: string, error: unknown): void {
    const name = `${id} ${clientId}`;
    if (this.#told.has(name)) return;
    if (this.#told.size >= TOLD_MAX) this.#told.clear();
    this.#told.add(name);
    this.#log('error', 'a will cannot be read', { clientId, err: error });
  }
}
