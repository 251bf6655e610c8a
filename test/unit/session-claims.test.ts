// DESIGN interleaving 3: what is told to a node of a session that it is claiming finds no session there. A queue that the
// claim found empty is read all the same then, and only then; and a claim that was overtaken meanwhile is over.

import t from 'tap';
import type { Operation, PullOperation } from '../../src/store/operations.ts';
import type { ClaimedSession, SessionState } from '../../src/store/store.ts';
import { eventually } from '../helpers/eventually.ts';
import { FakeLink } from '../helpers/fake-link.ts';
import { claimed, claimOf, sessionsOver } from '../helpers/sessions-over.ts';

const NO_BYTES = Buffer.alloc(0);
const LIFE = claimed.life;

/** Sessions whose claims wait for `answer`, and how many pulls there were. */
function makeSessions() {
  const answers: ((answer: ClaimedSession) => void)[] = [];
  const inspected: string[][] = [];
  const pulls: PullOperation[] = [];
  let resume = () => {};
  const sessions = sessionsOver({
    claim: () => new Promise<ClaimedSession>((resolve) => answers.push(resolve)),
    inspect(clientIds: string[]) {
      inspected.push([...clientIds]);
      return new Promise<SessionState[]>((resolve) => {
        resume = () => resolve(clientIds.map(stateOf));
      });
    },
    submit(operation: Operation) {
      if (operation.kind === 'pull') pulls.push(operation as PullOperation);
    },
    nowMs: () => 0,
  });
  const asked = () => eventually('the claim has left', () => answers.length > 0);
  const answer = (change: Partial<ClaimedSession> = {}) => answers.shift()?.({ ...claimed, ...change });
  return { sessions, asked, answer, pulls, inspected, inspectionEnds: () => resume() };
}

const stateOf = (clientId: string): SessionState => ({
  ...{ clientId, incarnation: 'node', epoch: claimed.epoch, life: LIFE, tail: 0 },
});

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
  return pulls.length;
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
  ['that another node had it before', (sessions) => sessions.takenOver('client', claimed.epoch - 1)],
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
  t.equal(pulls.length, 1);
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
  t.equal(pulls.length, 1);
  t.equal(await pullsAtStart(nothing), 0, 'what was heard is forgotten with the last of them');
});

t.test('a claim is over where a later one of another node was told of meanwhile', async (t) => {
  const { sessions, asked, answer } = makeSessions();
  const claiming = claimOf(sessions);
  await asked();
  sessions.takenOver('client', claimed.epoch + 1);
  answer();
  await t.rejects(claiming, { code: 'SWARMQ_ERR_SESSION_FENCED' });
  t.equal(sessions.get('client'), undefined);
});

t.test('what is told while the queue is being read has it read again', async (t) => {
  const { sessions, asked, answer, pulls } = makeSessions();
  const claiming = claimOf(sessions);
  await asked();
  answer({ tail: 1 });
  const session = await claiming;
  session.attach(new FakeLink('client', 5));
  session.start();
  t.equal(pulls.length, 1);
  notice(sessions);
  t.equal(pulls.length, 1, 'one at a time');
  const [pull] = pulls;
  Object.assign(pull!, { status: 'ok', first: 1, tail: 0, entries: [] });
  pull!.complete();
  t.equal(pulls.length, 2);
});

t.test('a pass that is asked for during another one looks at who has come since', async (t) => {
  const { sessions, asked, answer, inspected, inspectionEnds } = makeSessions();
  const claiming = claimOf(sessions);
  await asked();
  answer();
  await claiming;
  const first = sessions.passOver();
  const later = sessions.claim({
    ...{ clientId: 'later', version: 5, cleanStart: false, expirySec: 60, will: null },
  });
  await asked();
  answer();
  await later;
  const second = sessions.passOver();
  inspectionEnds();
  await eventually('another pass', () => inspected.length === 2);
  inspectionEnds();
  await Promise.all([first, second]);
  t.same(inspected, [['client'], ['client', 'later']]);
  const third = sessions.passOver();
  inspectionEnds();
  await third;
  t.equal(inspected.length, 3, 'and no more than were asked for');
});
