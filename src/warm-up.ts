// Runs the way of a client once through a node of its own that nobody sees, before the real one opens its ports: an
// incarnation on a store in memory, with one client that connects, subscribes, publishes, acknowledges, goes and comes
// back. A process that has never served is slow at its first client (code that never ran is interpreted, with nothing
// known of its types); the clients of a node that died all meet such a one when it has just been replaced.
// Nothing of it is counted, logged or kept, and when it fails the node starts all the same.

import type { CompiledConfig } from './config/compile.ts';
import { AedesShell } from './connection/aedes-shell.ts';
import type { ByteStream, StreamEvents } from './connection/ports.ts';
import { Incarnation } from './incarnation.ts';
import { readUint16 } from './mqtt/bytes.ts';
import { type ControlPacket, generatePacket } from './mqtt/codec.ts';
import { Framer, type PacketSink } from './mqtt/framer.ts';
import { PacketType, type ProtocolVersion } from './mqtt/packet-type.ts';
import { silentLogger } from './observability/logger.ts';
import { NodeStats } from './observability/node-stats.ts';
import { makeStore } from './store/open.ts';
import { newStoreCounters } from './store/redis/options.ts';
import { delay, systemClock } from './util/clock.ts';
import { systemRandom } from './util/random.ts';

/** Times that each client comes back. More did not make the first real client faster. */
const VISITS = 12;
/** The warm-up is given up after so long. */
const PATIENCE_MS = 1000;
const TOPIC = 'warm/up';

/** Resolves with true when all visits were made, with false when the time for them was over first. */
export async function warmUp(config: CompiledConfig): Promise<boolean> {
  const shell = await AedesShell.create();
  const store = await makeStore(
    { ...config, redis: null, data: { ...config.data, memory: true } },
    { clock: systemClock, random: systemRandom, log: () => {}, counters: newStoreCounters() },
  );
  const incarnation = new Incarnation({
    config,
    store,
    shell,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    stats: new NodeStats(),
    onDead: () => {},
    onChange: () => {},
  });
  try {
    await incarnation.start();
    const isOver = delay(systemClock, PATIENCE_MS).then(() => false);
    return await Promise.race([visits(incarnation), isOver]);
  } finally {
    await incarnation.stop();
    await shell.close();
  }
}

async function visits(incarnation: Incarnation): Promise<true> {
  for (let visit = 0; visit < VISITS; visit++) {
    for (const version of [4, 5] as const) {
      await new Promise<void>((resolve) => {
        incarnation.connections.accept(new Visitor(version, resolve));
      });
    }
  }
  return true;
}

/** A client at the other end of a stream that is no socket: subscribes, sends itself one message per QoS, and goes. */
class Visitor implements ByteStream, PacketSink {
  readonly info = { listener: 'warm-up', remoteAddress: '127.0.0.1' };
  readonly #version: ProtocolVersion;
  readonly #onGone: () => void;
  readonly #framer = new Framer(this, Number.POSITIVE_INFINITY);
  #events: StreamEvents | null = null;
  #messages = 0;
  #acks = 0;
  #isGone = false;

  constructor(version: ProtocolVersion, onGone: () => void) {
    this.#version = version;
    this.#onGone = onGone;
  }

  setHandlers(events: StreamEvents): void {
    this.#events = events;
    const connect = { cmd: 'connect', clientId: `warm-up-${this.#version}`, clean: false, keepalive: 60 };
    const ends = this.#version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {};
    this.#send({ ...connect, ...ends, protocolId: 'MQTT', protocolVersion: this.#version } as ControlPacket);
  }

  write(bytes: Buffer): boolean {
    this.#framer.push(Buffer.from(bytes));
    return true;
  }

  onPacket(buf: Buffer, start: number, bodyStart: number): void {
    const type = buf[start]! >> 4;
    if (type === PacketType.CONNACK) {
      this.#send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: TOPIC, qos: 2 }] });
    } else if (type === PacketType.SUBACK) {
      for (const qos of [0, 1, 2] as const) {
        const message = {
          topic: TOPIC,
          payload: 'x',
          qos,
          messageId: qos + 1,
          dup: false,
          retain: qos === 1,
        };
        this.#send({ cmd: 'publish', ...message });
      }
    } else if (type === PacketType.PUBLISH) {
      const qos = (buf[start]! >> 1) & 3;
      const messageId = readUint16(buf, bodyStart + 2 + TOPIC.length);
      if (qos > 0) this.#send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId });
      this.#messages++;
    } else if (type === PacketType.PUBREC) {
      this.#send({ cmd: 'pubrel', messageId: readUint16(buf, bodyStart) });
    } else if (type === PacketType.PUBREL) {
      this.#send({ cmd: 'pubcomp', messageId: readUint16(buf, bodyStart) });
    } else {
      this.#acks++;
    }
    // Gone in mid-flow, as devices are: the next visit resumes.
    if (this.#messages >= 3 && this.#acks >= 2) this.destroy();
  }

  bytesWaiting(): number {
    return 0;
  }

  pauseReading(): void {}

  resumeReading(): void {}

  established(): void {}

  end(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    // Streams tell their end later, never inside of a call.
    systemClock.soon(() => {
      this.#events?.onClose();
      this.#onGone();
    });
  }

  #send(packet: ControlPacket): void {
    const bytes = generatePacket(packet, this.#version);
    systemClock.soon(() => !this.#isGone && this.#events?.onData(bytes));
  }
}
