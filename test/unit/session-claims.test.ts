// DESIGN interleaving 3: what is told to a node of a session that it is claiming finds no session there. A queue that the
// claim found empty is read all the same then, and only then.

import t from 'tap';
import type { Operation } from '../../src/store/operations.ts';
import type { ClaimedSession } from '../../src/store/store.ts';
import { eventually } from '../helpers/eventually.ts';
import { FakeLink } from '../helpers/fake-link.ts';
import { claimed, claimOf, sessionsOver } from '../helpers/sessions-over.ts';

const NO_BYTES = Buffer.alloc(0);
const LIFE = claimed.life;

/** Sessions whose claims wait for `answer`, and how many pulls there were. */
function makeSessions() {
  const answers: ((answer: ClaimedSession) => void)[] = [];
  let pulls = 0;
  const sessions = sessionsOver({
    claim: () => new Promise<ClaimedSession>((resolve) => answers.push(resolve)),
    inspect: async () => [],
    submit(operation: Operation) {
      if (operation.kind === 'pull') pulls++;
    },
    nowMs: () => 0,
  });
  const asked = () => eventually('the claim has left', () => answers.length > 0);
  const answer = (change: Partial<ClaimedSession> = {}) => answers.shift()?.({ ...claimed, ...change });
  return { sessions, asked, answer, pulls: () => pulls };
}

type World = ReturnType<typeof makeSessions>;
type Tell = (sessions: World['sessions']) => unknown;

/** Pulls of a session at its start, where `tell` came while it was claimed and `tellLater` before its CONNACK. */
async function pullsAtStart(tell: Tell, tellLater: Tell = () => {}): Promise<number> {
  const { sessions, asked, answer, pulls } = makeSessions();
  const claiming = claimOf(sessions);
  await asked();
  tell(sessions);
  answer();
  const session = await claiming;
  tellLater(sessions);
  session.attach(new FakeLink('client', 5));
  session.start();
  return pulls();
}

const nothing: Tell = () => {};
const message: Tell = (sessions) => sessions.push('client', LIFE, 1, NO_BYTES, NO_BYTES);
const notice: Tell = (sessions) => sessions.push('client', LIFE, 0, NO_BYTES, NO_BYTES);
const messages: Tell = (sessions) =>
  sessions.pushRun({
    ...{ clientId: 'client', life: LIFE, first: 1, count: 0 },
    ...{ bytes: NO_BYTES, start: 0, end: 0 },
  });

t.test('an empty queue of which nothing was heard is not read', async (t) => {
  t.equal(await pullsAtStart(nothing), 0);
  t.equal(await pullsAtStart((sessions) => sessions.push('another', LIFE, 1, NO_BYTES, NO_BYTES)), 0);
});

for (const [what, tell] of [
  ['a message', message],
  ['messages', messages],
  ['that something waits', notice],
  ['that another node has it', (sessions) => sessions.takenOver('client', claimed.epoch + 1)],
  ['that something may have been lost', (sessions) => sessions.inboxLost()],
  ['that a node has died', (sessions) => sessions.passOver()],
] as [string, Tell][]) {
  t.test(`it is read where the claiming node was told ${what} meanwhile`, async (t) => {
    t.equal(await pullsAtStart(tell), 1);
  });
}

t.test('it is read where that came between the claim and CONNACK', async (t) => {
  t.equal(await pullsAtStart(nothing, message), 1);
  t.equal(await pullsAtStart(nothing, notice), 1);
});

t.test('a queue in which the claim found something is read', async (t) => {
  const { sessions, asked, answer, pulls } = makeSessions();
  const claiming = claimOf(sessions);
  await asked();
  answer({ head: 4, tail: 4, sent: 4 });
  const session = await claiming;
  session.attach(new FakeLink('client', 5));
  session.start();
  t.equal(pulls(), 1);
});

t.test('of two claims at the same time both have heard it', async (t) => {
  const { sessions, asked, answer, pulls } = makeSessions();
  const first = claimOf(sessions);
  const second = claimOf(sessions);
  await asked();
  message(sessions);
  answer();
  const before = await first;
  await asked();
  answer({ epoch: claimed.epoch + 1 });
  const session = await second;
  t.ok(before.isEnded);
  session.attach(new FakeLink('client', 5));
  session.start();
  t.equal(pulls(), 1);
  t.equal(await pullsAtStart(nothing), 0, 'what was heard is forgotten with the last of them');
});
