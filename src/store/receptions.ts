// The unfinished QoS 2 receptions of one publisher, as the owner of its session knows them: the owner alone records them,
// so that a store may write what it is told without looking first, and several in one value. Each has a slot, the lowest
// that is free, which marks its message (records.markKey) together with the mid.

/** An unfinished QoS 2 reception as it is recorded. */
export interface InboundRecord {
  readonly packetId: number;
  readonly slot: number;
  readonly mid: number;
  /** Members of shared groups that the message was given to, '' for none. */
  readonly choices: string;
}

export class Reception implements InboundRecord {
  readonly packetId: number;
  readonly slot: number;
  choices: string;
  /** 0 until it is recorded; set by the store. */
  mid: number;
  /** 'open': from an earlier connection, to be repeated; 'busy': under way; 'received': PUBREC was sent; 'over': it goes. */
  state: 'open' | 'busy' | 'received' | 'over';

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

export class Receptions {
  readonly #byId = new Map<number, Reception>();
  readonly #bySlot: (Reception | undefined)[] = [];
  /** No lower slot is free. */
  #free = 0;

  /** With those that were recorded before. */
  constructor(records: readonly InboundRecord[]) {
    for (const record of records) this.#set(new Reception(record, 'open'));
  }

  get(packetId: number): Reception | undefined {
    return this.#byId.get(packetId);
  }

  /** A new one, in the lowest free slot. */
  add(packetId: number, choices: string): Reception {
    const slots = this.#bySlot;
    let slot = this.#free;
    while (slots[slot] !== undefined) slot++;
    this.#free = slot + 1;
    const reception = new Reception({ packetId, slot, mid: 0, choices }, 'busy');
    this.#set(reception);
    return reception;
  }

  remove({ packetId, slot }: Reception): void {
    this.#byId.delete(packetId);
    this.#bySlot[slot] = undefined;
    if (slot < this.#free) this.#free = slot;
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
