// A run as a list of commands, made before it begins: who connects, subscribes, publishes and leaves when, and what the
// world does to the nodes. fast-check makes it from a seed, and cuts it down when it fails, so that a failure is told by few
// commands: every choice is a value of its own, devices and nodes are named by numbers that fit whatever is left.

import fc from 'fast-check';
import { NEVER, type SubscriptionWish } from './call.ts';
import { LANES } from './world.ts';

export interface DevicePlan {
  readonly id: string;
  readonly version: 4 | 5;
  readonly expirySec: number;
  readonly receiveMaximum: number;
}

export type Command =
  | {
      readonly kind: 'connect';
      readonly device: string;
      readonly node: number;
      readonly cleanStart: boolean;
      readonly leaveOpen: boolean;
      readonly will: { qos: 0 | 1 | 2; retain: boolean; delaySec: number } | null;
    }
  | {
      readonly kind: 'drop';
      readonly device: string;
      readonly isSilent: boolean;
      readonly isForGood: boolean;
    }
  | { readonly kind: 'disconnect'; readonly device: string; readonly keepsWill: boolean }
  | { readonly kind: 'subscribe'; readonly device: string; readonly wishes: readonly SubscriptionWish[] }
  | { readonly kind: 'unsubscribe'; readonly device: string; readonly filters: readonly string[] }
  | {
      readonly kind: 'publish';
      readonly device: string;
      readonly topic: string;
      readonly qos: 0 | 1 | 2;
      readonly retain: boolean;
      readonly isEmpty: boolean;
      readonly expirySec: number;
      readonly count: number;
      readonly bytes: number;
    }
  | { readonly kind: 'mute'; readonly device: string; readonly forMs: number }
  | { readonly kind: 'kill' | 'restart' | 'stop'; readonly node: number }
  | {
      readonly kind: 'freeze' | 'cut' | 'hold-log' | 'hold-inbox';
      readonly node: number;
      readonly forMs: number;
    }
  | { readonly kind: 'pause'; readonly forMs: number }
  | { readonly kind: 'stand'; readonly lane: number; readonly forMs: number }
  | { readonly kind: 'lose-tail'; readonly batches: number }
  | { readonly kind: 'clock'; readonly node: number; readonly offsetMs: number };

export type TimedCommand = Command & { readonly atMs: number };

export interface Plan {
  readonly seed: number;
  readonly nodes: number;
  readonly devices: readonly DevicePlan[];
  readonly commands: readonly TimedCommand[];
  readonly durationMs: number;
}

const FILTERS = ['a/x', 'a/y', 'a/#', '+/x', 'b/+', '#', 'r/#', 'r/+', 'b/x'];
const TOPICS = ['a/x', 'a/y', 'b/x', 'b/y'];
const LEASE_MS = 3000;
/** Actions of devices in one run; half as many on the average. */
const ACTIONS_MAX = 110;
const FAULTS_MAX = 7;

/** The device that sees all wills: never reset, always back. */
export const WITNESS = 'w';

const upTo = (limit: number): fc.Arbitrary<number> => fc.nat({ max: limit - 1 });
const oneOf = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
const oneIn = (times: number): fc.Arbitrary<boolean> => upTo(times).map((value) => value === times - 1);

const someFilters = (maxLength: number): fc.Arbitrary<string[]> =>
  fc.uniqueArray(oneOf(...FILTERS), { minLength: 1, maxLength, size: 'max' });

const subscription = fc.record({
  filters: someFilters(3),
  qos: fc.array(oneOf(0 as const, 1 as const, 1 as const, 2 as const, 2 as const), {
    minLength: 3,
    maxLength: 3,
  }),
  noLocal: oneIn(8),
  retainAsPublished: oneIn(8),
  retainHandling: oneOf(0 as const, 0 as const, 0 as const, 1 as const, 2 as const),
});

const connection = fc.record({
  node: upTo(6),
  isReset: oneIn(6),
  leaveOpen: oneIn(3),
  will: fc.option(
    fc.record({
      qos: oneOf(2 as const, 2 as const, 1 as const),
      retain: oneIn(4),
      delaySec: oneOf(0, 0, 1, 3, 8),
    }),
    { freq: 1 },
  ),
});

const device = fc.record({
  version: oneOf(5 as const, 5 as const, 4 as const),
  isKept: oneIn(3).map((value) => !value),
  expirySec: oneOf(NEVER, NEVER, 20, 20, 0),
  receiveMaximum: oneOf(65_535, 65_535, 4, 1),
  connection,
  connectMs: upTo(300),
  subscription: fc.option(subscription, { freq: 3 }),
  subscribeMs: upTo(300),
});

const publication = fc.record({
  isRetained: oneIn(3),
  topic: oneOf(...TOPICS),
  qos: oneOf(0 as const, 1 as const, 1 as const, 2 as const, 2 as const),
  isEmpty: oneIn(10),
  expirySec: fc.option(oneOf(1, 4), { freq: 1, nil: 0 }).chain((sec) => oneIn(5).map((is) => (is ? sec : 0))),
  count: oneOf(1, 1, 2, 5, 12),
  bytes: oneOf(10, 10, 40, 400),
});

const action = fc.record({
  device: upTo(60),
  at: upTo(10_000),
  what: fc.oneof(
    { weight: 50, arbitrary: publication.map((value) => ({ kind: 'publish', ...value }) as const) },
    { weight: 14, arbitrary: connection.map((value) => ({ kind: 'connect', ...value }) as const) },
    { weight: 12, arbitrary: subscription.map((value) => ({ kind: 'subscribe', ...value }) as const) },
    { weight: 6, arbitrary: someFilters(2).map((filters) => ({ kind: 'unsubscribe', filters }) as const) },
    {
      weight: 8,
      arbitrary: fc.record({ kind: fc.constant('drop' as const), isForGood: oneIn(4), isSilent: oneIn(4) }),
    },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('disconnect' as const), keepsWill: oneIn(3) }) },
    {
      weight: 5,
      arbitrary: upTo(4000).map((more) => ({ kind: 'mute', forMs: 100 + more }) as const),
    },
  ),
});

const shortMs = upTo(1500).map((ms) => 20 + ms);
const longMs = upTo(3 * LEASE_MS).map((ms) => LEASE_MS + ms);
const shortOrLong = fc.oneof(shortMs, longMs);

const fault = fc.record({
  node: upTo(6),
  at: upTo(10_000),
  what: fc.oneof(
    {
      weight: 28,
      arbitrary: oneOf(50, 1000, 5000, 9000).map((backMs) => ({ kind: 'kill', backMs }) as const),
    },
    { weight: 18, arbitrary: shortOrLong.map((forMs) => ({ kind: 'freeze', forMs }) as const) },
    {
      weight: 14,
      arbitrary: fc.oneof(shortMs, shortMs, longMs).map((forMs) => ({ kind: 'cut', forMs }) as const),
    },
    { weight: 10, arbitrary: shortOrLong.map((forMs) => ({ kind: 'hold-log', forMs }) as const) },
    { weight: 8, arbitrary: shortOrLong.map((forMs) => ({ kind: 'hold-inbox', forMs }) as const) },
    {
      weight: 8,
      arbitrary: fc
        .oneof(shortMs, fc.constant(3 * LEASE_MS))
        .map((forMs) => ({ kind: 'pause', forMs }) as const),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('stand' as const),
        lane: upTo(LANES - 1).map((lane) => 1 + lane),
        forMs: shortOrLong,
      }),
    },
    { weight: 3, arbitrary: upTo(12).map((more) => ({ kind: 'lose-tail', batches: 1 + more }) as const) },
    { weight: 3, arbitrary: upTo(4000).map((more) => ({ kind: 'stop', backMs: 1000 + more }) as const) },
    {
      weight: 5,
      arbitrary: fc
        .integer({ min: -300_000, max: 300_000 })
        .map((offsetMs) => ({ kind: 'clock', offsetMs }) as const),
    },
  ),
});

const choices = fc.record({
  nodes: oneOf(2, 3),
  moreMs: upTo(9000),
  devices: fc.array(device, { minLength: 3, maxLength: 6, size: 'max' }),
  actions: fc.array(action, { maxLength: ACTIONS_MAX, size: 'max' }),
  faults: fc.array(fault, { maxLength: FAULTS_MAX, size: 'max' }),
});

type Values<A> = A extends fc.Arbitrary<infer V> ? V : never;
type DeviceChoice = Values<typeof device>;

/** Plans as fast-check makes them; `seed` is that of the run's own chances. */
export const plans = (seed: number): fc.Arbitrary<Plan> => choices.map((made) => planOf(seed, made));

/** The one plan of a seed. */
export function makePlan(seed: number): Plan {
  return fc.sample(plans(seed), { seed, numRuns: 1, unbiased: true })[0]!;
}

function planOf(seed: number, made: Values<typeof choices>): Plan {
  const durationMs = 8000 + made.moreMs;
  const devices = made.devices.map((one, index) => devicePlan(one, `d${index + 1}`));
  const witness: DevicePlan = { id: WITNESS, version: 5, expirySec: NEVER, receiveMaximum: 65_535 };
  devices.push(witness);
  const commands = beginning(made.devices, devices, made.nodes);
  for (const { device: number, at, what } of made.actions) {
    const command = actionOf(devices[number % devices.length]!, what, made.nodes);
    if (command !== null) commands.push({ ...command, atMs: Math.floor((at * durationMs) / 10_000) });
  }
  for (const { node, at, what } of made.faults) {
    const atMs = 500 + Math.floor((at * (durationMs - 500)) / 10_000);
    commands.push({ ...what, node: node % made.nodes, atMs } as TimedCommand);
    if ('backMs' in what)
      commands.push({ kind: 'restart', node: node % made.nodes, atMs: atMs + what.backMs });
  }
  commands.sort((one, other) => one.atMs - other.atMs);
  return { seed, nodes: made.nodes, devices, commands, durationMs };
}

function devicePlan({ version, isKept, expirySec, receiveMaximum }: DeviceChoice, id: string): DevicePlan {
  const kept = isKept ? NEVER : 0;
  return { id, version, expirySec: version === 4 ? kept : expirySec, receiveMaximum };
}

/** All connect and most subscribe before the first fault. */
function beginning(made: DeviceChoice[], devices: DevicePlan[], nodes: number): TimedCommand[] {
  const commands: TimedCommand[] = [];
  const wish = {
    filter: 'w/+',
    qos: 2,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
  } as const;
  const connect = { node: 0, cleanStart: false, leaveOpen: false, will: null };
  commands.push({ kind: 'connect', device: WITNESS, ...connect, atMs: 0 });
  commands.push({ kind: 'subscribe', device: WITNESS, wishes: [wish], atMs: 150 });
  for (const [index, one] of made.entries()) {
    const plan = devices[index]!;
    commands.push({ ...connectOf(plan, one.connection, nodes), atMs: one.connectMs });
    if (one.subscription === null) continue;
    commands.push({ ...subscribeOf(plan, one.subscription), atMs: 300 + one.subscribeMs });
  }
  return commands;
}

function connectOf(plan: DevicePlan, made: Values<typeof connection>, nodes: number): Command {
  const canReset = plan.version === 5 || plan.expirySec === 0;
  return {
    kind: 'connect',
    device: plan.id,
    node: made.node % nodes,
    cleanStart: canReset && made.isReset,
    leaveOpen: made.leaveOpen,
    will: made.will && { ...made.will, delaySec: plan.version === 5 ? made.will.delaySec : 0 },
  };
}

function subscribeOf(plan: DevicePlan, made: Values<typeof subscription>): Command {
  const isFive = plan.version === 5;
  const wishes = made.filters.map((filter, index) => ({
    filter,
    qos: made.qos[index]!,
    noLocal: isFive && made.noLocal,
    retainAsPublished: isFive && made.retainAsPublished,
    retainHandling: isFive ? made.retainHandling : 0,
  }));
  return { kind: 'subscribe', device: plan.id, wishes } as Command;
}

function publishOf(plan: DevicePlan, made: Values<typeof publication>): Command {
  // Each retained topic has one publisher and one QoS, so that what comes last is known.
  const number = Number(plan.id.slice(1));
  const { isRetained } = made;
  return {
    kind: 'publish',
    device: plan.id,
    topic: isRetained ? `r/${number}` : made.topic,
    qos: isRetained ? ((1 + (number % 2)) as 1 | 2) : made.qos,
    retain: isRetained,
    isEmpty: isRetained && made.isEmpty,
    expirySec: isRetained ? 0 : made.expirySec,
    count: made.count,
    bytes: made.bytes,
  };
}

/** What a device does; null where the witness is chosen for what it never does. */
function actionOf(plan: DevicePlan, what: Values<typeof action>['what'], nodes: number): Command | null {
  const { id } = plan;
  if (id === WITNESS) {
    if (what.kind === 'drop') return { kind: 'drop', device: id, isSilent: false, isForGood: false };
    if (what.kind !== 'connect') return null;
    return {
      kind: 'connect',
      device: id,
      node: what.node % nodes,
      cleanStart: false,
      leaveOpen: false,
      will: null,
    };
  }
  switch (what.kind) {
    case 'publish':
      return publishOf(plan, what);
    case 'connect':
      return connectOf(plan, what, nodes);
    case 'subscribe':
      return subscribeOf(plan, what);
    default:
      return { ...what, device: id } as Command;
  }
}
