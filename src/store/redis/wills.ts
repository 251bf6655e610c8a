// Reads taken wills out of the replies of the scripts that take them.

import { decodeWill } from '../records.ts';
import type { TakenWill } from '../store.ts';
import { asList, asText, type Reply } from './resp.ts';

/** `reply`: list of {mid, will}. */
export function readWills(clientId: string, reply: Reply | undefined): TakenWill[] {
  return asList(reply).map((one) => {
    const [mid, will] = asList(one);
    const id = asText(mid);
    return { clientId, id, mid: Number(id), will: decodeWill(will as Buffer) };
  });
}
