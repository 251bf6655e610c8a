// What the lane of a master that answers, and refuses, tells of it: that nothing goes any more, after a while, and for as
// long as something waits for it. And when its batches begin, and with what. The commits and their lane are the real ones;
// the master is a script of replies.

import t from 'tap';
import { ControlOperation } from '../../src/store/redis/call.ts';
import { Commits } from '../../src/store/redis/commits.ts';
import { Keyspace } from '../../src/store/redis/keyspace.ts';
import type { Reply } from '../../src/store/redis/resp.ts';
import type { RetainedSizes } from '../../src/store/redis/retained-call.ts';
import type { Master, Topology } from '../../src/store/redis/topology.ts';
import { HandClock } from '../helpers/hand-clock.ts';
import { redisOptions } from '../integration/redis-world.ts';

const NOPERM = 'NOPERM this user has no permissions';
const TRYAGAIN = 'TRYAGAIN Multiple keys request during rehashing of slot';

class Request extends ControlOperation {
  wanted = true;

  override isWanted(): boolean {
    return this.wanted;
  }
}

function makeWorld() {
  const clock = new HandClock();
  const told: string[] = [];
  const world = {
    clock,
    told,
    answer: (_name: string): string | null => null,
    answerMs: 1,
    /** Each batch: when it was sent, and what of. */
    batches: [] as [number, ...string[]][],
    submit,
    hurry: (request: Request) => commits.hurry(request),
    pending,
  };
  let sent: string[] = [];
  const lane = {
    isReady: true,
    history: 'h',
    connection: {},
    run(_commands: readonly Buffer[], done: (replies: Reply[]) => void) {
      const names = sent;
      sent = [];
      world.batches.push([Math.round(clock.ms * 10) / 10, ...names]);
      clock.after(world.answerMs, () => done(names.map((name) => asReply(world.answer(name)))));
    },
  };
  const master = { name: 'main', isFit: true, lane } as unknown as Master;
  const topology = {
    isCluster: false,
    masterOf: () => master,
    tellStalled: (_master: Master, reason: string) => {
      if (reason !== (told.at(-1) ?? '')) told.push(reason);
    },
  } as unknown as Topology;
  const options = { ...redisOptions('redis://127.0.0.1:1'), clock };
  const commits = new Commits(options, topology, new Keyspace('p'), {} as RetainedSizes);
  t.teardown(() => commits.close());
  function submit(receiver: string, isPatient = false): Request {
    const write = () => void sent.push(receiver);
    const request = new Request(receiver, write, () => {});
    request.isPatient = isPatient;
    commits.submit(request);
    return request;
  }
  function pending() {
    return commits.pendingOf(master);
  }
  return world;
}

function asReply(refusal: string | null): Reply {
  if (refusal === null) return null;
  const error = new Error(refusal);
  error.name = 'ReplyError';
  return error;
}

t.test('what is refused for seconds is told, until it goes', async (t) => {
  const world = makeWorld();
  world.answer = () => NOPERM;
  world.submit('a');
  world.clock.pass(2900);
  t.same(world.told, []);
  world.clock.pass(1200);
  t.same(world.told, [`main refuses: ${NOPERM}`]);
  world.answer = () => null;
  world.clock.pass(100);
  t.same(world.told.slice(1), ['']);
  t.equal(world.pending(), 0);
});

t.test('nobody waits any more for what was refused: nothing is refused', async (t) => {
  const world = makeWorld();
  world.answer = () => NOPERM;
  const request = world.submit('a');
  world.clock.pass(5000);
  t.equal(world.told.length, 1);
  request.wanted = false;
  world.clock.pass(100);
  t.equal(world.pending(), 0);
  t.same(world.told.slice(1), [''], 'at once');
  world.clock.pass(20_000);
  t.equal(world.told.length, 2);
});

t.test('one that is refused later counts from then', async (t) => {
  const world = makeWorld();
  world.answer = () => NOPERM;
  const request = world.submit('a');
  world.clock.pass(1500);
  request.wanted = false;
  world.clock.pass(100);
  t.equal(world.pending(), 0);
  world.submit('b');
  world.clock.pass(2900);
  t.same(world.told, [], 'for less than three seconds');
  world.answer = () => null;
  world.clock.pass(5000);
  t.same(world.told, []);
});

t.test('a slot on the move is no refusal', async (t) => {
  const world = makeWorld();
  world.answer = () => TRYAGAIN;
  world.submit('a');
  world.clock.pass(10_000);
  t.same(world.told, []);
  t.equal(world.pending(), 1, 'it waits');
  world.answer = (name) => (name === 'a' ? TRYAGAIN : NOPERM);
  world.submit('b');
  world.clock.pass(5000);
  t.same(world.told, [`main refuses: ${NOPERM}`], 'nor does it hide that all others are refused');
  world.answer = (name) => (name === 'a' ? TRYAGAIN : null);
  world.clock.pass(1000);
  t.same(world.told.slice(1), ['']);
  world.answer = () => null;
  world.clock.pass(1000);
  t.equal(world.pending(), 0);
});

t.test('a batch right behind a small one takes along what comes within two milliseconds', async (t) => {
  const world = makeWorld();
  world.answerMs = 0.2;
  world.submit('a');
  world.clock.pass(0.3);
  world.submit('b');
  world.clock.pass(1.5);
  world.submit('c');
  world.clock.pass(4);
  t.same(world.batches, [
    [0, 'a'],
    [2.3, 'b', 'c'],
  ]);
  world.submit('d');
  world.clock.pass(0);
  t.same(world.batches.at(-1), [5.8, 'd'], 'at once where nothing was sent for a while');
  world.answerMs = 2;
  world.clock.pass(5);
  world.submit('e');
  world.clock.pass(1);
  world.submit('f');
  world.clock.pass(3);
  t.same(world.batches.slice(3), [
    [10.8, 'e'],
    [12.8, 'f'],
  ]);
});

t.test('behind a large one, within one', async (t) => {
  const world = makeWorld();
  world.answerMs = 0.2;
  for (let number = 0; number < 16; number++) world.submit(`r${number}`);
  world.clock.pass(0.3);
  world.submit('b');
  world.clock.pass(0.8);
  world.submit('c');
  world.clock.pass(0.7);
  t.same(world.batches.slice(1), [[1.3, 'b', 'c']]);
  world.clock.pass(0.2);
  world.submit('d');
  world.clock.pass(1);
  t.equal(world.batches.length, 2, 'that one was small');
  world.clock.pass(2);
  t.same(world.batches.slice(2), [[4, 'd']]);
});

t.test('behind a small one within one where somebody comes back as soon as it is answered', async (t) => {
  const world = makeWorld();
  world.answerMs = 0.2;
  world.submit('a');
  for (const name of ['a', 'b', 'a', 'b', 'c', 'd', 'e', 'a']) {
    // Once the batch before has been answered.
    while (world.pending() > 0) world.clock.pass(0.1);
    world.submit(name);
  }
  world.clock.pass(3);
  const pauses = world.batches.map(([at], index) => Math.floor(at - (world.batches[index - 1]?.[0] ?? 0)));
  t.same(pauses, [0, 1, 2, 1, 1, 2, 2, 2, 2], 'the last one has been away for long enough');
});

t.test('what nobody waits for goes with others, or a little later', async (t) => {
  const world = makeWorld();
  world.submit('a', true);
  world.clock.pass(1);
  world.submit('b', true);
  world.clock.pass(1);
  t.same(world.batches, []);
  world.submit('c');
  world.clock.pass(0);
  t.same(world.batches, [[2, 'a', 'b', 'c']]);
  world.clock.pass(5);
  world.submit('a', true);
  world.clock.pass(5);
  t.same(world.batches.slice(1), [[10, 'a']]);
  world.clock.pass(5);
  world.submit('a', true);
  world.submit('a');
  world.clock.pass(0);
  t.same(world.batches.slice(2), [[17, 'a']], 'its receiver has got something else');
  world.submit('b', true);
  world.clock.pass(1);
  t.same(world.batches.slice(3), [[18, 'b', 'a']], 'a call of its own, for which somebody waits');
  world.clock.pass(5);
  const waited = world.submit('a', true);
  world.clock.pass(1);
  world.hurry(waited);
  world.clock.pass(0);
  t.same(world.batches.slice(4), [[24, 'a']], 'now somebody waits');
});

t.test('what nobody waits for does not pile up', async (t) => {
  const world = makeWorld();
  for (let number = 0; number <= 128; number++) world.submit(`r${number}`, true);
  world.clock.pass(0);
  t.equal(world.batches.length, 1);
  world.clock.pass(10);
  t.equal(world.pending(), 0);
});
