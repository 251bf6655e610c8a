// least-in-flight: who does not acknowledge gets little, for as long as that lasts, and comes back when it does; whether
// it is connected to the publisher's node, which reads its session, or elsewhere, of which the store's answers tell.

import t from 'tap';
import type { GroupMember } from '../../src/routing/shared-groups.ts';
import { sub } from '../helpers/cluster-members.ts';
import { groupsOf } from '../helpers/groups.ts';

const FILTER = '$share/g/a';

/** A member as its client and the store have it: what is given lies in its queue until it acknowledges. */
class Worker {
  readonly member: GroupMember;
  isStuck = false;
  queue = 0;
  given = 0;

  constructor(member: GroupMember) {
    this.member = member;
  }
}

/** Workers by name, connected to the nodes named, under a clock of our own. */
function setup(homes: Record<string, string>) {
  const now = { ms: 5000 };
  const workers = new Map<string, Worker>();
  const groups = groupsOf('self', 'least-in-flight', () => now.ms, {
    loadHere: (clientId) => (homes[clientId] === 'self' ? workers.get(clientId)!.queue : -1),
  });
  for (const [name, home] of Object.entries(homes)) {
    groups.set(name, 1, true, [sub(FILTER)]);
    groups.setPresent(name, home, true);
  }
  const group = groups.get(FILTER)!;
  for (const member of group.members) workers.set(member.clientId, new Worker(member));
  const of = (name: string) => workers.get(name)!;
  /** A message, answered by the store at once. */
  const publish = () => {
    const worker = of(groups.choose(group, 'p', 'a', false)!.clientId);
    worker.given++;
    worker.queue++;
    worker.member.load.pending++;
    groups.answered(worker.member, worker.queue);
  };
  /** So many messages, one each `everyMs`; who is not stuck has acknowledged before the next one. */
  const stream = (count: number, everyMs: number) => {
    for (const worker of workers.values()) worker.given = 0;
    for (let sent = 0; sent < count; sent++) {
      now.ms += everyMs;
      publish();
      for (const worker of workers.values()) if (!worker.isStuck) worker.queue = 0;
    }
    return [...workers.values()].map(({ given }) => given);
  };
  return { groups, group, now, of, publish, stream };
}

for (const [place, homes] of Object.entries({
  'both here': { stuck: 'self', healthy: 'self' },
  'the stuck one elsewhere': { stuck: 'other', healthy: 'self' },
  'the healthy one elsewhere': { stuck: 'self', healthy: 'other' },
  'both elsewhere': { stuck: 'other', healthy: 'another' },
})) {
  t.test(`slow traffic, ${place}`, async (t) => {
    const { of, stream } = setup(homes);
    t.same(stream(30, 600), [15, 15], 'while both acknowledge');
    of('stuck').isStuck = true;
    const [stuck, healthy] = stream(30, 600) as [number, number];
    t.ok(stuck <= (homes.stuck === 'self' ? 1 : 6), `${stuck} of 30 for who never acknowledges`);
    t.equal(healthy, 30 - stuck);
    const [later] = stream(300, 600) as [number, number];
    t.ok(later <= (homes.stuck === 'self' ? 0 : 180 / 16 + 1), `${later} of 300 later`);
    of('stuck').isStuck = false;
    of('stuck').queue = 0;
    stream(30, 600);
    t.same(stream(30, 600), [15, 15], 'it has come back');
  });
}

t.test('a member elsewhere is tried once an interval, however much comes', async (t) => {
  const { of, stream } = setup({ stuck: 'other', healthy: 'self' });
  of('stuck').isStuck = true;
  stream(20, 1);
  const [stuck] = stream(10_000, 1) as [number, number];
  t.ok(stuck >= 2 && stuck <= 4, `${stuck} in ten seconds`);
  t.ok(stream(16_000, 1)[0]! <= 2, 'later each 16 seconds');
});

t.test('one that waited much, and did it all, is back within a second', async (t) => {
  const { of, publish, now, stream } = setup({ far: 'other', near: 'self' });
  for (let sent = 0; sent < 40; sent++) publish();
  t.ok(of('far').given >= 19 && of('near').given >= 19, 'even in a burst');
  for (const name of ['far', 'near']) of(name).queue = 0;
  now.ms += 1000;
  t.same(stream(20, 50), [10, 10]);
});

t.test('a member that connects is tried at once', async (t) => {
  const { of, groups, stream } = setup({ stuck: 'other', healthy: 'self' });
  of('stuck').isStuck = true;
  stream(300, 600);
  groups.setPresent('stuck', 'other', false);
  of('stuck').isStuck = false;
  of('stuck').queue = 0;
  groups.setPresent('stuck', 'other', true);
  t.ok(stream(20, 10)[0]! >= 9);
});

t.test('what is under way counts everywhere, and a message of QoS 0 tries nobody', async (t) => {
  const { of, groups, group, now, publish } = setup({ far: 'other', near: 'self' });
  for (let sent = 0; sent < 10; sent++) publish();
  of('near').queue = 0;
  now.ms += 10_000;
  t.equal(groups.choose(group, 'p', 'a', true)?.clientId, 'near');
  t.equal(groups.choose(group, 'p', 'a', false)?.clientId, 'far', 'the load of which is in doubt');
  of('near').member.load.pending = 6;
  t.equal(groups.choose(group, 'p', 'a', false)?.clientId, 'far');
  of('far').member.load.pending = 6;
  t.equal(groups.choose(group, 'p', 'a', false)?.clientId, 'near');
});
