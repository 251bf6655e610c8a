// The fence in front of live receivers: a line waits for what lay in the inbox when it asked, no longer, and lines that
// ask while a look is under way share the next one. The store is two lists of answers that are still to be given.

import t from 'tap';
import { hasLive, InboxFence } from '../../src/delivery/inbox-fence.ts';
import type { LocalTarget } from '../../src/routing/local-routes.ts';
import { SwarmqError } from '../../src/util/errors.ts';
import { eventually } from '../helpers/eventually.ts';

interface Asked<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

function makeFence() {
  const looks: Asked<string>[] = [];
  const waits = new Map<string, () => void>();
  const faults: unknown[] = [];
  const passed: string[] = [];
  const store = {
    inboxEnd: () => new Promise<string>((resolve, reject) => looks.push({ resolve, reject })),
    waitInbox: (position: string) => new Promise<void>((resolve) => waits.set(position, resolve)),
  };
  const fence = new InboxFence(store, (error) => faults.push(error));
  const ask = (name: string) => fence.ask({ passFence: () => void passed.push(name) });
  return { ask, looks, waits, faults, passed };
}

t.test('who asks while a look is under way waits for the next look', async (t) => {
  const { ask, looks, waits, passed } = makeFence();
  ask('a');
  ask('b');
  ask('c');
  t.equal(looks.length, 1);
  looks[0]!.resolve('5');
  await eventually('the second look', () => looks.length === 2 && waits.has('5'));
  waits.get('5')!();
  await eventually('the first one is told', () => passed.length === 1);
  t.same(passed, ['a'], 'what the others wait for may lie behind');
  looks[1]!.resolve('7');
  await eventually('the wait for the second look', () => waits.has('7'));
  ask('d');
  t.equal(looks.length, 3, 'the next one looks at once');
  waits.get('7')!();
  await eventually('all are told', () => passed.length === 3);
  t.same(passed, ['a', 'b', 'c']);
});

t.test('a closed store is no fault, and tells nobody', async (t) => {
  const { ask, looks, faults, passed } = makeFence();
  ask('a');
  looks[0]!.reject(new SwarmqError('SWARMQ_ERR_STORE_CLOSED', 'closed'));
  await eventually('the next look', () => {
    if (looks.length < 2) ask('b');
    return looks.length === 2;
  });
  looks[1]!.reject(new Error('another'));
  await eventually('the fault is told', () => faults.length === 1);
  t.same(passed, []);
});

t.test('live is who gets the message neither by a queue nor not at all', async (t) => {
  const target = (rest: Partial<LocalTarget>) =>
    ({ receiver: { clientId: 'r' }, grant: {}, grantOthers: {}, queued: false, ...rest }) as LocalTarget;
  t.ok(hasLive([target({ queued: true }), target({})], 'p'));
  t.notOk(hasLive([target({ queued: true })], 'p'));
  t.notOk(hasLive([target({ grantOthers: null })], 'r'), 'No Local');
  t.notOk(hasLive([target({ queuedOthers: true })], 'r'));
  t.ok(hasLive([target({ queued: true })], 'r'));
  t.notOk(hasLive([], 'p'));
});
