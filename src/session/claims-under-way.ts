// What a node hears of sessions while it claims them. From the moment of its claim a session's messages, and who takes it
// over, are told to the claiming node, which knows of the claim only when the answer has come. What is told in between
// finds no session here, so that it is noted: the session begins by reading its queue then, and does not begin where a
// later claim was told of. Where nothing was heard, a queue that the claim found empty is empty, and is not read.
// Invariant: noting begins before the claim leaves and ends when the session is in its node's map.

/** Claims of one client id: those under way, and what was heard since the first of them began. */
interface Noted {
  claims: number;
  isHeard: boolean;
  /** Of the latest claim of another node, 0 for none. */
  epoch: number;
}

export class ClaimsUnderWay {
  readonly #byClient = new Map<string, Noted>();

  begin(clientId: string): void {
    const noted = this.#byClient.get(clientId);
    if (noted === undefined) this.#byClient.set(clientId, { claims: 1, isHeard: false, epoch: 0 });
    else noted.claims++;
  }

  end(clientId: string): void {
    const noted = this.#byClient.get(clientId);
    if (noted === undefined) return;
    noted.claims--;
    if (noted.claims === 0) this.#byClient.delete(clientId);
  }

  isHeard(clientId: string): boolean {
    return this.#byClient.get(clientId)?.isHeard === true;
  }

  /** The epoch of another node's claim that was told of, 0 for none. */
  epochOf(clientId: string): number {
    return this.#byClient.get(clientId)?.epoch ?? 0;
  }

  /** Something was told of the session of that client id; `epoch`: that another node has claimed it. */
  hear(clientId: string, epoch = 0): void {
    if (this.#byClient.size === 0) return;
    const noted = this.#byClient.get(clientId);
    if (noted === undefined) return;
    noted.isHeard = true;
    noted.epoch = Math.max(noted.epoch, epoch);
  }

  /** Something may have been told of any session and was lost. */
  hearAll(): void {
    for (const noted of this.#byClient.values()) noted.isHeard = true;
  }
}
