// Who is in a crowd: how many of which kind, on which topics, how they come and go, and what publishers send next. Topics:
// c/<publisher>/<n> carry all QoS mixed; r/<publisher>/<n> retained counters of one publisher each; e/<publisher>/<n>
// messages that expire; w/<client> wills. All below the crowd's name.

import type { Random } from '../../src/util/random.ts';
import type { Qos } from './history.ts';
import type { Publishing, Subscribing } from './recorder.ts';
import type { Wanderer, WandererOptions } from './wanderer.ts';

export interface CrowdProfile {
  /** In front of client ids and topics; two crowds on one cluster need two. */
  name: string;
  publishers: number;
  /** Messages a second, of all publishers together. */
  ratePerSecond: number;
  /** Sessions that stay; two more subscribe to everything, and one to all wills, at QoS 2. */
  subscribers: number;
  cleanSubscribers: number;
  /** Clean sessions that come for the retained values. */
  readers: number;
  /** Clients with wills. */
  mortals: number;
  /** Sessions that expire within seconds. */
  briefs: number;
  /** Members of three groups of shared subscriptions. */
  members: number;
  /** Times in which clients stay or are away are multiplied by this. */
  patience: number;
}

export const DEFAULT_PROFILE: CrowdProfile = {
  name: 'crowd',
  publishers: 10,
  ratePerSecond: 1500,
  subscribers: 8,
  cleanSubscribers: 4,
  readers: 3,
  mortals: 8,
  briefs: 3,
  members: 9,
  patience: 1,
};

export interface PublisherPlan {
  client: WandererOptions;
  /** Unfinished messages at most. */
  window: number;
  next: () => { topic: string; options: Publishing };
}

export interface Publisher {
  plan: PublisherPlan;
  wanderer: Wanderer;
}

const TOPICS = 4;
const RETAINED_TOPICS = 2;

export function peopleOf(
  profile: CrowdProfile,
  random: Random,
): { publishers: PublisherPlan[]; others: WandererOptions[] } {
  const count = <T>(times: number, make: (index: number) => T): T[] =>
    Array.from({ length: times }, (_, i) => make(i));
  const publishers = count(profile.publishers, (index) => publisherOf(profile, random, index));
  const others = [
    ...count(profile.subscribers, (index) => subscriberOf(profile, random, index)),
    ...count(profile.cleanSubscribers, (index) => cleanSubscriberOf(profile, random, index)),
    ...count(profile.readers, (index) => readerOf(profile, index)),
    ...count(profile.mortals, (index) => mortalOf(profile, index)),
    ...count(profile.briefs, (index) => briefOf(profile, random, index)),
    ...count(2, (index) => collectorOf(profile, index)),
    witnessOf(profile),
    ...count(profile.members, (index) => memberOf(profile, index)),
  ];
  return { publishers, others };
}

const versionOf = (index: number): 3 | 4 | 5 => ([5, 4, 5, 3] as const)[index % 4]!;

function stretched(profile: CrowdProfile, from: number, to: number): readonly [number, number] {
  return [from * profile.patience, to * profile.patience];
}

function publisherOf(profile: CrowdProfile, random: Random, index: number): PublisherPlan {
  const version = versionOf(index);
  // One in five gives up what was not acknowledged when its connection ends.
  const isClean = index % 5 === 4;
  const next = (): { topic: string; options: Publishing } => {
    const bytes = random.below(40) === 0 ? 20_000 : random.below(120);
    const draw = random.below(100);
    if (draw < 6 && !isClean) {
      const n = random.below(RETAINED_TOPICS);
      const options = { qos: (1 + n) as Qos, retain: true, isEmpty: random.below(50) === 0, bytes: 20 };
      return { topic: `${profile.name}/r/${index}/${n}`, options };
    }
    const n = random.below(TOPICS);
    if (draw < 10 && version === 5) {
      const options = { qos: (1 + (n % 2)) as Qos, expirySec: 1 + random.below(2), bytes };
      return { topic: `${profile.name}/e/${index}/${n}`, options };
    }
    const qos = ([0, 1, 1, 2, 2] as const)[random.below(5)]!;
    return { topic: `${profile.name}/c/${index}/${n}`, options: { qos, bytes } };
  };
  const client = {
    clientId: `${profile.name}-p${index}`,
    version,
    clean: isClean,
    dwellMs: stretched(profile, 2000, 12_000),
    awayMs: stretched(profile, 0, 500),
    leaving: { cut: 4, disconnect: 2, leave: 2 },
  };
  return { client, window: [10, 100, 40][index % 3]!, next };
}

/** Filters of many shapes over the publishers' topics. */
function filterOf({ name, publishers }: CrowdProfile, random: Random): string {
  const publisher = random.below(publishers);
  const n = random.below(TOPICS);
  const shapes = [
    `${name}/c/${publisher}/${n}`,
    `${name}/c/${publisher}/+`,
    `${name}/c/${publisher}/#`,
    `${name}/+/${publisher}/${n}`,
    `+/c/${publisher}/${n}`,
    `${name}/e/${publisher}/#`,
    `${name}/r/${publisher}/+`,
  ];
  return shapes[random.below(shapes.length)]!;
}

function wishesOf(profile: CrowdProfile, random: Random, count: number): [string, Subscribing][] {
  return Array.from({ length: count }, () => [
    filterOf(profile, random),
    { qos: ([1, 2, 2, 1, 0] as const)[random.below(5)]! },
  ]);
}

function subscriberOf(profile: CrowdProfile, random: Random, index: number): WandererOptions {
  return {
    clientId: `${profile.name}-s${index}`,
    version: versionOf(index),
    clean: false,
    dwellMs: stretched(profile, 300, 5000),
    awayMs: stretched(profile, 0, index % 3 === 0 ? 4000 : 800),
    leaving: { cut: 3, disconnect: 3, leave: 3 },
    cleanStarts: index % 2 === 0 ? 40 : 0,
    wishes: wishesOf(profile, random, 3),
    pool: Array.from({ length: 4 }, () => filterOf(profile, random)),
    actMs: stretched(profile, 200, 2000),
  };
}

function cleanSubscriberOf(profile: CrowdProfile, random: Random, index: number): WandererOptions {
  return {
    clientId: `${profile.name}-l${index}`,
    version: versionOf(index),
    clean: true,
    dwellMs: stretched(profile, 1000, 20_000),
    awayMs: stretched(profile, 0, 500),
    leaving: { cut: 2, disconnect: 3, leave: 2 },
    wishes: wishesOf(profile, random, 3),
    pool: Array.from({ length: 3 }, () => filterOf(profile, random)),
    actMs: stretched(profile, 500, 3000),
  };
}

function readerOf(profile: CrowdProfile, index: number): WandererOptions {
  return {
    clientId: `${profile.name}-r${index}`,
    version: versionOf(index),
    clean: index % 3 !== 2,
    dwellMs: stretched(profile, 300, 1500),
    awayMs: stretched(profile, 0, 300),
    leaving: { cut: 1, disconnect: 3, leave: 1 },
    cleanStarts: 500,
    wishes: [[`${profile.name}/r/${index % 2 === 0 ? '#' : '+/0'}`, { qos: ((index + 1) % 3) as Qos }]],
  };
}

/** Delays and expiries of all relations: none, shorter than the session, longer than it. */
const MORTAL_TERMS = [
  [0, 60],
  [1, 60],
  [3, 60],
  [3, 2],
] as const;

function mortalOf(profile: CrowdProfile, index: number): WandererOptions {
  const clientId = `${profile.name}-m${index}`;
  const version = versionOf(index);
  const [delaySec, sessionExpirySeconds] = MORTAL_TERMS[(index >> 1) % MORTAL_TERMS.length]!;
  return {
    clientId,
    version,
    clean: version === 4,
    ...(version === 5 ? { sessionExpirySeconds } : {}),
    will: {
      topic: `${profile.name}/w/${clientId}`,
      qos: (1 + ((index >> 1) % 2)) as Qos,
      retain: false,
      delaySec,
    },
    dwellMs: stretched(profile, 300, 4000),
    awayMs: stretched(profile, 0, index % 3 === 0 ? 12_000 : 1500),
    leaving: { cut: 5, disconnect: 3, leave: 1, disconnectWithWill: version === 5 ? 1 : 0 },
    cleanStarts: 100,
    endsAway: index % 2 === 0,
  };
}

function briefOf(profile: CrowdProfile, random: Random, index: number): WandererOptions {
  return {
    clientId: `${profile.name}-b${index}`,
    version: 5,
    clean: false,
    sessionExpirySeconds: 2,
    dwellMs: stretched(profile, 300, 3000),
    awayMs: stretched(profile, 0, 14_000),
    leaving: { cut: 2, disconnect: 2, leave: 1 },
    wishes: wishesOf(profile, random, 1),
  };
}

/** Has all messages but wills and retained ones, so that each one is asked for at least twice. */
function collectorOf(profile: CrowdProfile, index: number): WandererOptions {
  return {
    clientId: `${profile.name}-a${index}`,
    version: versionOf(index),
    clean: false,
    dwellMs: stretched(profile, 1000, 10_000),
    awayMs: stretched(profile, 0, 1500),
    leaving: { cut: 3, disconnect: 2, leave: 2 },
    wishes: [[`${profile.name}/c/#`, { qos: (1 + index) as Qos }]],
  };
}

/** Is there from the beginning to the end, so that it can say which wills came. */
function witnessOf(profile: CrowdProfile): WandererOptions {
  return {
    clientId: `${profile.name}-w`,
    version: 5,
    clean: false,
    dwellMs: stretched(profile, 5000, 30_000),
    awayMs: stretched(profile, 0, 200),
    leaving: { cut: 2, disconnect: 2, leave: 1 },
    wishes: [[`${profile.name}/w/#`, { qos: 2 }]],
  };
}

/**
 * Three groups, each with a member that stays for good, so that nothing may be lost in it. In the first all do; in the
 * second the others go for good, come as somebody new, leave the group and join it, at QoS 1; in the third they end at
 * QoS 2. A group's topics are no subscriptions of its members' own.
 */
function memberOf(profile: CrowdProfile, index: number): WandererOptions {
  const kind = index % 3;
  const turn = Math.floor(index / 3);
  const isAnchor = kind === 0 || turn === 0;
  const isClean = !isAnchor && turn % 2 === 1;
  const { name } = profile;
  const topics = [`${name}/c/+/0`, `${name}/c/1/#`, `${name}/c/2/+`][kind];
  const filter = `$share/${['steady', 'mixed', 'brief'][kind]}/${topics}`;
  const mayLeave = kind === 1 && !isAnchor && !isClean;
  const expires = kind === 2 && !isAnchor && !isClean;
  return {
    clientId: `${name}-g${index}`,
    version: expires ? 5 : versionOf(kind === 0 ? index : turn),
    clean: isClean,
    ...(expires ? { sessionExpirySeconds: 2 } : {}),
    dwellMs: stretched(profile, 300, 6000),
    awayMs: stretched(profile, 0, [800, 2500, 4000][turn % 3]!),
    leaving: { cut: 4, disconnect: 2, leave: 2 },
    cleanStarts: mayLeave ? 200 : 0,
    wishes: [[filter, { qos: kind === 1 && !isAnchor ? 1 : 2 }]],
    ...(mayLeave ? { pool: [filter], actQos: 1 as const, actMs: stretched(profile, 500, 3000) } : {}),
  };
}
