// What the store refuses of a session, because its records are damaged: nothing stays claimed that nobody serves.

import t from 'tap';
import { encodeRow } from '../../src/store/records.ts';
import { SwarmqError } from '../../src/util/errors.ts';
import { eventually } from '../helpers/eventually.ts';
import { claimed, claimOf, sessionsOver } from '../helpers/sessions-over.ts';

const refused = () => new SwarmqError('SWARMQ_ERR_STORE_REPLY', 'WRONGTYPE');

t.test('a claim whose row cannot be announced again is given back', async (t) => {
  const row = encodeRow({ life: 1, rev: 1, persistent: true, subscriptions: [] });
  let refusals = 2;
  const released: unknown[] = [];
  const faults: unknown[] = [];
  const store = {
    claim: async () => ({ ...claimed, row, rowPending: true }),
    settleRow: async () => {
      throw refused();
    },
    release: async (leaving: unknown) => {
      if (refusals-- > 0) throw refused();
      released.push(leaving);
      return { status: 'released', endedLife: 0, wills: [], discarded: 0 };
    },
  };
  const sessions = sessionsOver(store, (error) => faults.push(error));
  await t.rejects(claimOf(sessions), { code: 'SWARMQ_ERR_STORE_REPLY' });
  t.equal(sessions.size, 0);
  await eventually('it is given back, though that was refused twice', () => released.length > 0);
  t.match(released, [{ clientId: 'client', dropWill: true, expirySec: 60, owner: { epoch: 5 } }]);
  t.match(faults, [{ code: 'SWARMQ_ERR_STORE_REPLY' }], 'told once');
});
