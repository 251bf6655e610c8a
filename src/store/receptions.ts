// The unfinished QoS 2 receptions of one publisher, as the owner of its session knows them: the owner alone records them,
// so that a store may write what it is told without looking first, and several in one value. Each has a slot, the lowest
// that is free, which marks its message (records.markKey) together with the mid.

/** In place of the choices: recorded ahead, when nothing could be chosen yet. */
export const UNCHOSEN = '?';

/** An unfinished QoS 2 reception as it is recorded. */
export interface InboundRecord {
  readonly packetId: number;
  readonly slot: number;
  readonly mid: number;
  /** Members of shared groups that the message was given to, '' for none, or UNCHOSEN. */
  readonly choices: string;
}

export class Reception implements InboundRecord {
  readonly packetId: number;
  readonly slot: number;
  choices: string;
  /** 0 until it is recorded; set by the store. */
  mid: number;
  /**
   * 'ahead': its PUBLISH has not come; 'open': from an earlier connection, to be repeated; 'busy': under way; 'received':
   * PUBREC was sent; 'over': it goes.
   */
  state: 'ahead' | 'open' | 'busy' | 'received' | 'over';
  /** Packet id of one that was recorded ahead in its slot, and goes with the write that records it; 0 for none. */
  replaces = 0;

  constructor({ packetId, slot, mid, choices }: InboundRecord, state: Reception['state']) {
    this.packetId = packetId;
    this.slot = slot;
    this.mid = mid;
    this.choices = choices;
    this.state = state;
  }

  /** It is in the store, and is to stay there. */
  get isKept(): boolean {
    return this.mid > 0 && this.state !== 'over';
  }
}

/** Length from which a list is cut to those that are ahead still. */
const LONG_LIST = 64;

const isAhead = ({ state }: Reception): boolean => state === 'ahead';

export class Receptions {
  readonly #byId = new Map<number, Reception>();
  readonly #bySlot: (Reception | undefined)[] = [];
  /** No lower slot is free. */
  #free = 0;
  /** In the order of their making; some are not ahead any more. */
  #ahead: Reception[] = [];
  #cutAheadAt = LONG_LIST;

  /** With those that were recorded before. */
  constructor(records: readonly InboundRecord[]) {
    for (const record of records) this.#set(new Reception(record, 'open'));
  }

  get(packetId: number): Reception | undefined {
    return this.#byId.get(packetId);
  }

  /** A new one, in the slot of one that is recorded ahead and did not come, or in the lowest free one. */
  add(packetId: number, choices: string): Reception {
    const other = this.#nextAhead();
    let slot = other?.slot ?? this.#free;
    if (other === undefined) {
      while (this.#bySlot[slot] !== undefined) slot++;
      this.#free = slot + 1;
    }
    const reception = new Reception({ packetId, slot, mid: 0, choices }, 'busy');
    if (other !== undefined) {
      other.state = 'over';
      this.#byId.delete(other.packetId);
      reception.replaces = other.packetId;
    }
    this.#set(reception);
    return reception;
  }

  /** The next message of this one's slot, to be recorded by the write that ends this one. Nothing has its packet id. */
  addAhead({ packetId, slot }: Reception, nextId: number): Reception {
    const next = new Reception({ packetId: nextId, slot, mid: 0, choices: UNCHOSEN }, 'ahead');
    this.#bySlot[slot] = next;
    // Under its own identifier the old one stands until it is gone.
    if (nextId !== packetId) this.#byId.set(nextId, next);
    if (this.#ahead.push(next) >= this.#cutAheadAt) {
      this.#ahead = this.allAhead();
      this.#cutAheadAt = Math.max(LONG_LIST, 2 * this.#ahead.length);
    }
    return next;
  }

  /** The write that ends it is done. */
  remove(reception: Reception): void {
    const { packetId, slot } = reception;
    const next = this.#bySlot[slot];
    if (next === reception) {
      this.#bySlot[slot] = undefined;
      if (slot < this.#free) this.#free = slot;
    }
    if (this.#byId.get(packetId) !== reception) return;
    if (next?.packetId === packetId && next !== reception) this.#byId.set(packetId, next);
    else this.#byId.delete(packetId);
  }

  /** Those that are recorded ahead, whether the store has answered or not. */
  allAhead(): Reception[] {
    return this.#ahead.filter(isAhead);
  }

  /** The eldest that stands ahead, if the store has answered. */
  #nextAhead(): Reception | undefined {
    const ahead = this.#ahead;
    let at = 0;
    while (at < ahead.length && !isAhead(ahead[at]!)) at++;
    if (at > 0) ahead.splice(0, at);
    const eldest = ahead[0];
    return eldest && eldest.mid > 0 && this.#byId.get(eldest.packetId) === eldest ? eldest : undefined;
  }

  /** What the store is to know of. */
  kept(): InboundRecord[] {
    return [...this.#byId.values()].filter((reception) => reception.isKept);
  }

  /** The same of the slots `from` to `until`, without that one. */
  keptIn(from: number, until: number): InboundRecord[] {
    const kept: InboundRecord[] = [];
    const end = Math.min(until, this.#bySlot.length);
    for (let slot = from; slot < end; slot++) {
      const reception = this.#bySlot[slot];
      if (reception?.isKept) kept.push(reception);
    }
    return kept;
  }

  #set(reception: Reception): void {
    this.#byId.set(reception.packetId, reception);
    const slots = this.#bySlot;
    while (slots.length < reception.slot) slots.push(undefined);
    slots[reception.slot] = reception;
  }
}
