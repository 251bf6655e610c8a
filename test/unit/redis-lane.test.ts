// What the lane of a master that answers, and refuses, tells of it: that nothing goes any more, after a while, and for as
// long as something waits for it. The commits and their lane are the real ones; the master is a script of replies.

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
  const world = { clock, told, answer: (_name: string): string | null => null, submit, pending };
  let sent: string[] = [];
  const lane = {
    isReady: true,
    history: 'h',
    connection: {},
    run(_commands: readonly Buffer[], done: (replies: Reply[]) => void) {
      const names = sent;
      sent = [];
      clock.after(1, () => done(names.map((name) => asReply(world.answer(name)))));
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
  function submit(name: string): Request {
    const write = () => void sent.push(name);
    const request = new Request(name, write, () => {});
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
