// Claims, releases and rows of sessions: the scripts that change who holds a session and what it subscribes. Each stands
// in the session's list, behind what was submitted for it before, and carries a token by which the script knows a
// repetition of the same call and answers what the first run did.

import type { Random } from '../../util/random.ts';
import { sessionReceiver } from '../operations.ts';
import type {
  ClaimedSession,
  ClaimRequest,
  ClaimResult,
  Fenced,
  ReleaseRequest,
  ReleaseResult,
  Restoration,
  RetainedCopies,
  RowSettle,
  RowWrite,
  SessionEnding,
  SessionState,
  TakenWill,
} from '../store.ts';
import { ClaimOperation, type StoreTime } from './claim-call.ts';
import type { Commits } from './commits.ts';
import type { Keyspace } from './keyspace.ts';
import { bucketOf, SESSION_KEYS } from './keyspace.ts';
import { SESSION_SLOTS } from './receiver-slot.ts';
import { decodeRecords, encodeRecords } from './reception-changes.ts';
import { type Argument, asList, asNumber, asText, type Reply } from './resp.ts';
import { defineScript, type Script } from './script.ts';
import type { SideCalls } from './side-calls.ts';
import type { WillReader } from './wills.ts';

const COMMON = ['history', 'token', 'clientId'] as const;
const OWNED = [...COMMON, 'incarnation', 'epoch'] as const;

const DROP_HELD = defineScript('drop-held', SESSION_KEYS, [...COMMON, 'incarnation']);
const RELEASE = defineScript('release-session', SESSION_KEYS, [...OWNED, 'dropWill', 'expirySec', 'sent']);
const WRITE_ROW = defineScript('write-row', SESSION_KEYS, [...OWNED, 'rev', 'row', 'reads', 'reading']);
const SETTLE_ROW = defineScript('settle-row', SESSION_KEYS, [...OWNED, 'rev', 'version', 'cut']);
const COPIES = defineScript('enqueue-copies', SESSION_KEYS, [...OWNED, 'reads', 'reading']);
const INSPECT = defineScript('inspect-sessions', ['session'], []);
const RESTORE = defineScript('restore-session', SESSION_KEYS, [
  ...OWNED,
  'life',
  'rev',
  'expirySec',
  'hasRow',
  'row',
  'sentAt',
]);

/** Sessions looked at in one call, and calls under way at a time: below a millisecond of Redis each. */
const INSPECT_PAGE = 250;
const INSPECT_PAGES = 8;
const NO_BYTES = Buffer.alloc(0);

export class Sessions {
  readonly #commits: Commits;
  readonly #side: SideCalls;
  readonly #keyspace: Keyspace;
  readonly #wills: WillReader;
  readonly #time: StoreTime;
  readonly #process: string;
  #calls = 0;

  constructor(
    commits: Commits,
    side: SideCalls,
    keyspace: Keyspace,
    random: Random,
    wills: WillReader,
    time: StoreTime,
  ) {
    this.#commits = commits;
    this.#side = side;
    this.#keyspace = keyspace;
    this.#wills = wills;
    this.#time = time;
    this.#process = random.id(6);
  }

  /**
   * Runs a script of one session in its list. `incarnation`: whose index of held sessions it may write. A function makes
   * the arguments anew each time the call is sent.
   */
  run<A extends string>(
    script: Script<(typeof SESSION_KEYS)[number], A | (typeof COMMON)[number]>,
    clientId: string,
    incarnation: string,
    args: Readonly<Record<A, Argument>> | (() => Readonly<Record<A, Argument>>),
    more: readonly Argument[] | (() => readonly Argument[]) = [],
  ): Promise<Reply> {
    const token = this.#token();
    return this.#commits.call(sessionReceiver(clientId), (writer, history) => {
      const own = typeof args === 'function' ? args() : args;
      script.open(writer);
      this.#keyspace.writeSession(writer, clientId, incarnation);
      // The arguments that all have, COMMON.
      writer.ascii(history);
      writer.ascii(token);
      writer.text(clientId);
      const { args: names } = script;
      for (let at = COMMON.length; at < names.length; at++) writer.argument(own[names[at] as A]);
      for (const one of typeof more === 'function' ? more() : more) writer.argument(one);
      writer.end();
    });
  }

  /** Names one call among all of all nodes. */
  #token(): string {
    return `${this.#process}${(this.#calls++).toString(36)}`;
  }

  async claim(request: ClaimRequest): Promise<ClaimResult> {
    const { clientId, incarnation } = request;
    const token = this.#token();
    const reply = asList(
      await this.#commits.ask((onAnswer) => new ClaimOperation(request, token, this.#time, onAnswer)),
    );
    if (reply[0] === 1) return { status: 'wait', owner: asText(reply[1]) };
    if (reply[0] === 2) return { status: 'overtaken' };
    const claimed = readClaim(reply, this.#wills.read(clientId, reply[14]));
    this.#time.tell(claimed.nowMs);
    const before = claimed.previousOwner;
    if (before !== '' && before !== incarnation) {
      // Its index has the same slot, but its key is known only now. Nobody waits; sessionsOf looks at the owner anyway.
      this.run(DROP_HELD, clientId, before, { incarnation: before }).catch(() => {});
    }
    return claimed;
  }

  async release(request: ReleaseRequest): Promise<ReleaseResult> {
    const { clientId, owner } = request;
    const reply = asList(
      await this.run(RELEASE, clientId, owner.incarnation, {
        ...owner,
        dropWill: request.dropWill ? 1 : 0,
        expirySec: request.expirySec,
        sent: request.sent,
      }),
    );
    if (reply[0] === 1) return { status: 'fenced' };
    return { status: 'ok', ...this.readEnding(clientId, reply.slice(1)) };
  }

  /** What a script answers of a session that was let go of: ended life, taken wills, messages that went with it. */
  readEnding(clientId: string, reply: readonly Reply[]): SessionEnding {
    const [life, wills, discarded] = reply;
    return {
      endedLife: asNumber(life),
      wills: this.#wills.read(clientId, wills),
      discarded: asNumber(discarded),
    };
  }

  async writeRow({ clientId, owner, rev, row, reading }: RowWrite): Promise<Fenced> {
    const reads = reading === null ? 0 : 1;
    const args = { ...owner, rev, row, reads, reading: reading ?? NO_BYTES };
    return fenced(await this.run(WRITE_ROW, clientId, owner.incarnation, args));
  }

  async settleRow({ clientId, owner, rev, version, cut }: RowSettle): Promise<Fenced> {
    const args = { ...owner, rev, version, cut: cut ? 1 : 0 };
    return fenced(await this.run(SETTLE_ROW, clientId, owner.incarnation, args));
  }

  async enqueueCopies(step: RetainedCopies): Promise<{ status: Fenced; seqs: number[]; tail: number }> {
    const { clientId, owner, copies, reading } = step;
    const args = { ...owner, reads: reading === null ? 0 : 1, reading: reading ?? NO_BYTES };
    const more = copies.flatMap(({ topic, entry }) => [topic, entry]);
    const reply = asList(await this.run(COPIES, clientId, owner.incarnation, args, more));
    if (reply[0] === 1) return { status: 'fenced', seqs: [], tail: 0 };
    return { status: 'ok', seqs: reply.slice(2).map(asNumber), tail: asNumber(reply[1]) };
  }

  async restore({ clientId, owner, life, rev, row, expirySec, receptions }: Restoration): Promise<Fenced> {
    const hasRow = row === null ? 0 : 1;
    const args = () => ({
      ...{ ...owner, life, rev, expirySec, hasRow, row: row ?? NO_BYTES },
      sentAt: Math.floor(this.#time.monotonicMs()),
    });
    const records = (): Argument[] => encodeRecords(receptions?.kept() ?? []);
    return fenced(await this.run(RESTORE, clientId, owner.incarnation, args, records));
  }

  /** Reads without waiting for what is in line for the sessions. */
  async inspect(clientIds: readonly string[]): Promise<SessionState[]> {
    const pages = this.#pagesOf(clientIds);
    const states: SessionState[] = [];
    for (let from = 0; from < pages.length; from += INSPECT_PAGES) {
      const some = pages.slice(from, from + INSPECT_PAGES);
      const replies = await Promise.all(
        some.map(({ slot, names }) => {
          const [session = '', ...more] = names.map((clientId) => this.#keyspace.meta(clientId));
          return this.#side.run(slot, () => INSPECT.encode({ session }, {}, [], more));
        }),
      );
      for (const [index, { names }] of some.entries()) readStates(names, asList(replies[index]), states);
    }
    return states;
  }

  /** Client ids by slot, in parts of one call each. */
  #pagesOf(clientIds: readonly string[]): { slot: number; names: string[] }[] {
    const bySlot = new Map<number, { slot: number; names: string[] }>();
    const pages: { slot: number; names: string[] }[] = [];
    for (const clientId of clientIds) {
      const slot = this.#side.groupOf(SESSION_SLOTS[bucketOf(clientId)]!);
      let page = bySlot.get(slot);
      if (page === undefined || page.names.length === INSPECT_PAGE) {
        page = { slot, names: [] };
        bySlot.set(slot, page);
        pages.push(page);
      }
      page.names.push(clientId);
    }
    return pages;
  }
}

function readStates(clientIds: readonly string[], reply: readonly Reply[], states: SessionState[]): void {
  for (const [index, clientId] of clientIds.entries()) {
    const life = reply[4 * index];
    if (life === null || life === undefined) continue;
    states.push({
      clientId,
      incarnation: asText(reply[4 * index + 1]),
      epoch: asNumber(reply[4 * index + 2]),
      life: asNumber(life),
      tail: asNumber(reply[4 * index + 3]),
    });
  }
}

const fenced = (reply: Reply): Fenced => (reply === 0 ? 'ok' : 'fenced');

function readClaim(reply: readonly Reply[], wills: readonly TakenWill[]): ClaimedSession {
  return {
    status: 'claimed',
    present: reply[1] === 1,
    life: asNumber(reply[2]),
    epoch: asNumber(reply[3]),
    rev: asNumber(reply[4]),
    previousOwner: asText(reply[5]),
    row: reply[6] as Buffer | null,
    rowPending: reply[7] === 1,
    rowVersion: asNumber(reply[8]),
    head: asNumber(reply[9]),
    tail: asNumber(reply[10]),
    sent: asNumber(reply[11]),
    inbound: asList(reply[12]).flatMap((value) => decodeRecords(value as Buffer)),
    reading: reply[13] as Buffer | null,
    wills,
    endedLife: asNumber(reply[15]),
    nowMs: asNumber(reply[16]),
    discarded: asNumber(reply[17]),
  };
}
