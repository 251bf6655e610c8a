// Carries a plan out, lets everything heal and come to rest, and asks the model what is wrong.

import { Cluster } from './cluster.ts';
import type { Device } from './device.ts';
import type { Era, Message } from './history.ts';
import { judge, type ModelInput } from './model.ts';
import { type DevicePlan, makePlan, type Plan, type TimedCommand, WITNESS } from './plan.ts';
import { checkRest } from './rest.ts';
import { judgePresence, judgeWills } from './session-rules.ts';
import type { SimNode } from './sim-node.ts';

/** How long wills, deaths and deadlines may take at the most, when all is healed. */
const HEAL_MS = 24_000;
const REST_MS = 60_000;

export interface Verdict {
  readonly breaches: string[];
  readonly hash: number;
  readonly tasks: number;
  readonly messages: number;
  readonly deliveries: number;
  readonly virtualMs: number;
}

export interface RunOptions {
  readonly trace?: (line: string) => void;
  readonly isVerbose?: boolean;
}

export async function runPlan(plan: Plan, options: RunOptions = {}): Promise<Verdict> {
  const run = new Run(plan, options);
  try {
    return await run.all();
  } finally {
    await run.cluster.close();
  }
}

export const runSeed = (seed: number, options: RunOptions = {}): Promise<Verdict> =>
  runPlan(makePlan(seed), options);

class Run {
  readonly cluster: Cluster;
  readonly #plan: Plan;
  readonly #plans = new Map<string, DevicePlan>();
  /** Devices that want to be connected: they call again when they lose their connection. */
  readonly #wanting = new Set<string>();
  readonly #gone = new Set<string>();

  constructor(plan: Plan, options: RunOptions) {
    this.#plan = plan;
    this.cluster = new Cluster({ seed: plan.seed, nodes: plan.nodes, ...options });
    for (const one of plan.devices) this.#plans.set(one.id, one);
  }

  async all(): Promise<Verdict> {
    const { cluster } = this;
    const breaches: string[] = [];
    let input: ModelInput | null = null;
    try {
      await cluster.start();
      const beganMs = cluster.time.nowMs;
      for (const plan of this.#plan.devices) this.#makeDevice(plan);
      for (const command of this.#plan.commands) {
        const untilMs = beganMs + command.atMs - cluster.time.nowMs;
        if (untilMs > 0) await cluster.pass(untilMs);
        await this.#do(command);
      }
      await cluster.pass(1000);
      await this.#heal();
      input = await this.#rest(breaches);
    } catch (error) {
      breaches.push(`the run stopped: ${error instanceof Error ? error.stack : String(error)}`);
    }
    breaches.push(...cluster.errors);
    if (input !== null) {
      breaches.push(...judge(input), ...judgePresence(input));
      const witnessAt = cluster.devices.get(WITNESS)?.era?.subscriptions[0]?.ackedMs ?? 0;
      if (witnessAt > 0) breaches.push(...judgeWills(input, WITNESS, witnessAt));
    }
    const { history, time } = cluster;
    return {
      ...{ breaches, hash: history.hash, tasks: time.count, messages: history.messages.size },
      ...{ deliveries: history.deliveries.length, virtualMs: time.sinceStartMs },
    };
  }

  #makeDevice(plan: DevicePlan): void {
    const device = this.cluster.device(plan.id, plan);
    device.onLost = () => this.#callAgain(device);
  }

  /** After a pause by chance, wherever somebody listens. */
  #callAgain(device: Device): void {
    const { time, random } = this.cluster;
    if (!this.#wanting.has(device.id)) return;
    time.post(20 + random.below(1500), () => {
      if (!this.#wanting.has(device.id) || device.isCalling) return;
      const isCalled = this.#call(device, random.below(this.#plan.nodes), null, 0, false, false);
      if (!isCalled) this.#callAgain(device);
    });
  }

  #call(
    device: Device,
    first: number,
    will: Message | null,
    willDelaySec: number,
    cleanStart: boolean,
    leaveOpen: boolean,
  ): boolean {
    const { nodes } = this.cluster;
    for (let tries = 0; tries < nodes.length; tries++) {
      const node = nodes[(first + tries) % nodes.length]!;
      if (device.connect(node, { cleanStart, will, willDelaySec }, leaveOpen)) return true;
    }
    return false;
  }

  async #do(command: TimedCommand): Promise<void> {
    const { cluster } = this;
    switch (command.kind) {
      case 'kill':
        cluster.kill(this.#node(command.node));
        return;
      case 'restart':
        await cluster.restart(this.#node(command.node));
        return;
      case 'stop':
        await cluster.stop(this.#node(command.node));
        return;
      case 'freeze':
        await cluster.freeze(this.#node(command.node));
        this.#later(command.forMs, () => cluster.thaw(this.#node(command.node)));
        return;
      case 'cut':
        cluster.cut(this.#node(command.node));
        this.#later(command.forMs, () => cluster.reconnect(this.#node(command.node)));
        return;
      case 'hold-log':
      case 'hold-inbox':
        this.#hold(this.#node(command.node), command.kind === 'hold-log' ? 'log' : 'inbox', command.forMs);
        return;
      case 'pause':
        cluster.pause();
        this.#later(command.forMs, () => cluster.resume());
        return;
      case 'stand':
        cluster.stand(command.lane, command.forMs);
        return;
      case 'lose-tail':
        cluster.loseTail(command.batches);
        return;
      case 'clock':
        cluster.note(`** clock of ${this.#node(command.node).name} ${command.offsetMs} ms`);
        cluster.faultsMs.push(cluster.time.nowMs);
        this.#node(command.node).process.wallOffsetMs = command.offsetMs;
        return;
      default:
        this.#doOfDevice(command);
    }
  }

  #hold(node: SimNode, reading: 'inbox' | 'log', forMs: number): void {
    const { cluster } = this;
    const { store } = node;
    cluster.hold(node, reading);
    this.#later(forMs, () => {
      // A node that began anew meanwhile reads by another connection.
      if (node.store === store) cluster.unhold(node, reading);
    });
  }

  #later(ms: number, run: () => void): void {
    this.cluster.time.post(ms, run);
  }

  #node(index: number): SimNode {
    return this.cluster.nodes[index % this.cluster.nodes.length]!;
  }

  #doOfDevice(command: Extract<TimedCommand, { device: string }>): void {
    const device = this.cluster.devices.get(command.device)!;
    if (this.#gone.has(device.id)) return;
    switch (command.kind) {
      case 'connect':
        this.#wanting.add(device.id);
        this.#connect(device, command);
        return;
      case 'drop':
        if (command.isForGood) this.#gone.add(device.id);
        this.#wanting.delete(device.id);
        device.drop(command.isSilent);
        return;
      case 'disconnect':
        this.#wanting.delete(device.id);
        device.disconnect(command.keepsWill);
        return;
      case 'subscribe':
        device.subscribe(command.wishes);
        return;
      case 'unsubscribe':
        device.unsubscribe(command.filters);
        return;
      case 'publish':
        this.#publish(device, command);
        return;
      case 'mute':
        device.isMuted = true;
        this.#later(command.forMs, () => device.unmute());
    }
  }

  #connect(device: Device, command: Extract<TimedCommand, { kind: 'connect' }>): void {
    const { node, cleanStart, leaveOpen } = command;
    const will =
      command.will &&
      device.newMessage({
        ...{ topic: `w/${device.id}`, qos: command.will.qos, retain: command.will.retain },
        ...{ isEmpty: false, expirySec: 0, isWill: true },
      });
    const isCalled = this.#call(device, node, will, command.will?.delaySec ?? 0, cleanStart, leaveOpen);
    if (!isCalled && !device.isCalling) this.#callAgain(device);
  }

  #publish(device: Device, command: Extract<TimedCommand, { kind: 'publish' }>): void {
    const { topic, qos, retain, isEmpty, count, bytes } = command;
    const expirySec = device.options.version === 5 ? command.expirySec : 0;
    for (let left = count; left > 0; left--) {
      if (!device.isConnected) return;
      const message = device.newMessage({ topic, qos, retain, isEmpty, expirySec, isWill: false });
      if (!device.publish(message, bytes)) return;
    }
  }

  // ---- the end

  /** All faults end, all devices that are not gone come back, and time enough passes for every deadline. */
  async #heal(): Promise<void> {
    const { cluster } = this;
    cluster.note('-- heal');
    cluster.resume();
    for (const node of cluster.nodes) {
      node.process.wallOffsetMs = 0;
      cluster.thaw(node);
      cluster.reconnect(node);
      node.store?.unhold('inbox');
      node.store?.unhold('log');
      if (!node.isUp) await cluster.restart(node);
    }
    for (const device of cluster.devices.values()) {
      if (this.#gone.has(device.id)) continue;
      device.unmute();
      this.#wanting.add(device.id);
      if (!device.isCalling) this.#callAgain(device);
    }
    await cluster.pass(4000);
    // Whoever was still stopping when all was healed has ended.
    for (const node of cluster.nodes) if (!node.isUp) await cluster.restart(node);
    await cluster.pass(HEAL_MS);
    // Whoever was muted by a command that came late is not any more.
    for (const device of cluster.devices.values()) device.unmute();
  }

  async #rest(breaches: string[]): Promise<ModelInput> {
    const { cluster } = this;
    const present = [...cluster.devices.values()].filter((device) => !this.#gone.has(device.id));
    const open = () => present.flatMap((device) => this.#openOf(device));
    try {
      await cluster.until('everything is answered', () => open().length === 0, REST_MS);
    } catch {
      breaches.push(...open());
    }
    await cluster.pass(1000);
    const endMs = cluster.time.nowMs;
    breaches.push(...checkRest(cluster));
    const retained = await this.#readRetained();
    const drained = new Set<Era>();
    for (const { era, isConnected } of present) if (era !== null && isConnected) drained.add(era);
    const { history, losses, faultsMs } = cluster;
    return { history, losses, faultsMs, endMs, drained, retained };
  }

  /** What a device still waits for. */
  #openOf(device: Device): string[] {
    const { id, outgoing, receivedCount } = device;
    if (!device.isConnected) return [`${id} cannot connect`];
    const open: string[] = [];
    const unanswered = [...outgoing.values()].map(({ message }) => message.id);
    if (unanswered.length > 0) open.push(`${id} waits for the answer to ${unanswered.join(' ')}`);
    // A reception whose PUBREC was lost with the store's tail is never released.
    if (receivedCount > 0 && this.cluster.losses.length === 0) {
      open.push(`${id} waits for ${receivedCount} PUBREL`);
    }
    const waiting = this.#waiting(device);
    if (waiting > 0) open.push(`${id} is not sent the ${waiting} messages of its queue`);
    return open;
  }

  #waiting(device: Device): number {
    const session = this.cluster.store.world.state.sessions.get(device.id);
    return session?.queue?.size ?? 0;
  }

  /** What a new subscriber is given now. */
  async #readRetained(): Promise<Map<string, string>> {
    const { cluster } = this;
    const reader = cluster.device('reader', { expirySec: 0 });
    const first = cluster.history.deliveries.length;
    this.#wanting.add(reader.id);
    this.#makeDevice({ id: reader.id, version: 5, expirySec: 0, receiveMaximum: 65_535 });
    if (!this.#call(reader, 0, null, 0, false, false)) this.#callAgain(reader);
    await cluster.until('the reader is connected', () => reader.isConnected);
    const wish = {
      filter: 'r/#',
      qos: 1,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
    } as const;
    reader.subscribe([wish]);
    await cluster.until('the reader is subscribed', () => (reader.era?.subscriptions[0]?.ackedAt ?? 0) > 0);
    await cluster.pass(2000);
    const retained = new Map<string, string>();
    for (const { message, era } of cluster.history.deliveries.slice(first)) {
      if (era.device === reader.id) retained.set(message.topic, message.id);
    }
    return retained;
  }
}
