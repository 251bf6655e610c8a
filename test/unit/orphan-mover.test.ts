// What an ended session has left, where the store refuses to write down who gets some of it: the rest is moved on, once,
// nothing hangs, and the next pass tries again.

import t from 'tap';
import type { GroupFanOut } from '../../src/delivery/group-fan-out.ts';
import type { GroupChoice, GroupMessage } from '../../src/delivery/group-message.ts';
import { OrphanMover } from '../../src/delivery/orphan-mover.ts';
import { buildBody } from '../../src/mqtt/message.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import { encodeEntryHeader } from '../../src/store/records.ts';
import type { OrphanTurn, Store } from '../../src/store/store.ts';
import { SwarmqError } from '../../src/util/errors.ts';

const refused = () => new SwarmqError('SWARMQ_ERR_STORE_REPLY', 'WRONGTYPE');

function entry(qos: 1 | 2): Buffer {
  const header = encodeEntryHeader({
    ...{ qos, retain: false, expiresAt: 0, ownExpiry: false, reference: false, copy: false },
    ...{ writesRetained: false, subscriptionIds: null, group: '$share/g/a' },
  });
  return Buffer.concat([header, buildBody('a', Buffer.from('x'))]);
}

/** Messages of ended sessions, by client and seq; all of QoS 2 but those of seq 1. */
class Leftovers {
  readonly left: Map<string, Set<number>>;
  readonly given: string[] = [];
  /** The store refuses to write down who gets these: at once, or when another one is to be written down. */
  refusedAtFirst = '';
  refusedLater = 0;

  constructor(clients: readonly string[]) {
    this.left = new Map(clients.map((clientId) => [clientId, new Set([1, 2, 3])]));
  }

  readonly store = {
    nowMs: () => 0,
    orphanedClients: async () =>
      [...this.left.keys()].filter((clientId) => this.left.get(clientId)!.size > 0),
    readOrphans: async (clientId: string) => {
      const seqs = [...this.left.get(clientId)!];
      const entries = seqs.map((seq) => ({
        seq,
        entry: entry(seq === 1 ? 1 : 2),
        wasSent: false,
        member: '',
      }));
      return seqs.length === 0 ? null : { life: 1, entries };
    },
    assignOrphans: async (clientId: string, _life: number, turns: readonly OrphanTurn[]) => {
      if (clientId === this.refusedAtFirst) throw refused();
      if (turns.some(({ seq, instead }) => seq === this.refusedLater && instead !== '')) throw refused();
      return turns.map(({ member }) => member);
    },
    removeOrphans: async (clientId: string, _life: number, seqs: readonly number[]) => {
      for (const seq of seqs) this.left.get(clientId)!.delete(seq);
    },
  };

  /** The first member has gone when a message of QoS 2 comes to it; the second one takes it. */
  readonly groups = {
    candidate: (filter: string) => ({ filter, clientId: 'first', member: null, life: 0 }),
    choiceOfClient: (filter: string, clientId: string) => ({ filter, clientId, member: null, life: 0 }),
    replace: (message: GroupMessage) => this.#give(message),
    placeAt: (message: GroupMessage, choice: GroupChoice) => {
      message.recordChoice({ ...choice, clientId: 'second' }, () => this.#give(message));
    },
  };

  readonly mover = new OrphanMover({
    store: this.store as unknown as Store,
    groups: this.groups as unknown as GroupFanOut,
    incarnation: 'n1',
    stats: new NodeStats(),
    holdMs: 1000,
    mayWork: () => true,
    onFault: (error) => {
      throw error;
    },
  });

  #give(message: GroupMessage): void {
    const { clientId, seq } = (message as unknown as { left: { clientId: string; seq: number } }).left;
    this.given.push(`${clientId} ${seq}`);
    message.done();
  }
}

t.test('another member cannot be written down for one of them', { timeout: 10_000 }, async (t) => {
  const leftovers = new Leftovers(['c1']);
  leftovers.refusedLater = 2;
  await t.rejects(leftovers.mover.run(), { code: 'SWARMQ_ERR_STORE_REPLY' });
  t.same(leftovers.given, ['c1 1', 'c1 3']);
  t.same([...leftovers.left.get('c1')!], [2], 'it stays where it is, the others do not');
  await t.rejects(leftovers.mover.run(), { code: 'SWARMQ_ERR_STORE_REPLY' });
  leftovers.refusedLater = 0;
  await leftovers.mover.run();
  t.same(leftovers.given, ['c1 1', 'c1 3', 'c1 2']);
});

t.test('nothing of one client can be written down', { timeout: 10_000 }, async (t) => {
  const clients = Array.from({ length: 20 }, (_none, index) => `c${index}`);
  const leftovers = new Leftovers(clients);
  leftovers.refusedAtFirst = 'c3';
  await t.rejects(leftovers.mover.run(), { code: 'SWARMQ_ERR_STORE_REPLY' });
  t.equal(leftovers.given.length, 3 * 19, 'the others have had their turn when the pass ends');
  t.equal(leftovers.left.get('c3')!.size, 3);
  leftovers.refusedAtFirst = '';
  await leftovers.mover.run();
  t.equal(leftovers.given.length, 3 * 20);
});
