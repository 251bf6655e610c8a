// Which packet identifiers a client's next messages will have, so that the write that ends one message can record another
// one ahead. Clients count up, and begin anew at 65,535 or where their window ends; others take the lowest that is free,
// which looks the same as long as their messages end in order. A wrong guess costs a record that nobody uses.

import type { Receptions } from '../store/receptions.ts';

const HIGHEST = 65_535;
/** Identifiers that are looked at for one that is not in use. */
const MOST_TRIES = 8;

export class ExpectedIds {
  /** Of the newest message. */
  #last = 0;
  #next = 1;
  /** Behind this one the client goes on with that. */
  #end = HIGHEST;
  #begin = 1;

  /** A new message came that was expected. */
  confirm(packetId: number): void {
    this.#last = packetId;
  }

  /** One came that was not. */
  learn(packetId: number): void {
    if (packetId <= this.#last) {
      this.#end = this.#last;
      this.#begin = packetId;
    } else if (packetId > this.#end) {
      this.#end = HIGHEST;
      this.#begin = 1;
    }
    this.#last = packetId;
    this.#next = this.#after(packetId);
  }

  /** The next that no other reception has than the one that ends as `ending`; 0 for none. */
  take(ending: number, receptions: Receptions): number {
    let packetId = this.#next;
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const next = this.#after(packetId);
      if (packetId === ending || receptions.get(packetId) === undefined) {
        this.#next = next;
        return packetId;
      }
      packetId = next;
    }
    return 0;
  }

  #after(packetId: number): number {
    return packetId >= this.#end ? this.#begin : packetId + 1;
  }
}
