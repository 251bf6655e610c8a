// G5 and G9: a refused write of a claim ends the connection when somebody else has the session, and does not when the
// store has only lost the claim and it is written back.

import t from 'tap';
import type { Operation, PullOperation } from '../../src/store/operations.ts';
import type { SessionState } from '../../src/store/store.ts';
import { systemClock } from '../../src/util/clock.ts';
import { FakeLink } from '../helpers/fake-link.ts';
import { claimed, claimOf, sessionsOver } from '../helpers/sessions-over.ts';

/** A connected session whose every pull is refused, over a store that answers `states` one after the other. */
async function refused(states: (SessionState | null)[]): Promise<{ link: FakeLink; asked: () => number }> {
  let asked = 0;
  const store = {
    // Something waits, so that it begins with a pull.
    claim: async () => ({ ...claimed, tail: 1 }),
    inspect: async () => {
      const state = states[Math.min(asked++, states.length - 1)];
      return state === null ? [] : [state];
    },
    submit(operation: Operation) {
      (operation as PullOperation).status = 'fenced';
      systemClock.soon(() => operation.complete());
    },
    nowMs: () => 0,
  };
  const session = await claimOf(sessionsOver(store));
  const link = new FakeLink('client', 5);
  session.attach(link);
  session.start();
  const count = states.length;
  for (let turn = 0; turn < 1000 && asked < count; turn++) await new Promise((next) => setImmediate(next));
  await new Promise((next) => setTimeout(next, 5));
  return { link, asked: () => asked };
}

const state = (incarnation: string, epoch: number): SessionState => ({
  clientId: 'client',
  incarnation,
  epoch,
  life: 1,
  tail: 0,
});

t.test('another owner ends the connection at once', async (t) => {
  const { link, asked } = await refused([state('other', 6)]);
  t.equal(link.closedWith, 0x8e);
  t.equal(asked(), 1);
});

t.test('a claim that the store has lost is given time to be written back', async (t) => {
  const { link, asked } = await refused([null, state('node', 5)]);
  t.equal(link.closedWith, null);
  t.equal(asked(), 2);
});

t.test('one that does not come back is over', async (t) => {
  const { link } = await refused([null, null]);
  t.equal(link.closedWith, 0x8e);
});
