// What a device is made of beside its state: its options and wishes, the CONNECT that follows from them, and one
// connection of it, which cuts the bytes of a wire into packets with mqtt-packet.

import mqtt, { type Packet } from 'mqtt-packet';
import type { Random } from '../../src/util/random.ts';
import type { Attempt, History, Message } from './history.ts';
import type { VirtualTime } from './virtual-time.ts';
import type { Wire, WireClient } from './wire.ts';

export interface DeviceOptions {
  readonly id: string;
  readonly version: 4 | 5;
  /** Seconds; 0 for a session that ends with its connection. The same for all connections, as devices are. */
  readonly expirySec: number;
  readonly receiveMaximum: number;
  readonly time: VirtualTime;
  readonly random: Random;
  readonly history: History;
  readonly trace: (line: string) => void;
}

export interface ConnectPlan {
  readonly cleanStart: boolean;
  readonly will: Message | null;
  readonly willDelaySec: number;
  /** 0 for none. */
  readonly keepAliveSec?: number;
}

export interface SubscriptionWish {
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
}

export const NEVER = 0xffffffff;

/** The CONNECT of a device with these options. */
export function connectPacket(
  { id, version, expirySec, receiveMaximum }: DeviceOptions,
  clean: boolean,
  { will, willDelaySec, keepAliveSec }: ConnectPlan,
): Buffer {
  return mqtt.generate({
    cmd: 'connect',
    clientId: id,
    protocolVersion: version,
    protocolId: 'MQTT',
    keepalive: keepAliveSec ?? 0,
    clean,
    ...(version === 5 && { properties: { sessionExpiryInterval: expirySec, receiveMaximum } }),
    ...(will && {
      will: {
        topic: will.topic,
        payload: Buffer.from(will.id),
        qos: will.qos,
        retain: will.retain,
        ...(version === 5 && { properties: { willDelayInterval: willDelaySec } }),
      },
    }),
  });
}

/** Whose connections they are. */
export interface CallOwner {
  readonly id: string;
  readonly options: DeviceOptions;
  heard(call: Call, packet: Packet): void;
  lost(call: Call): void;
}

/** One connection of a device, which it may have left behind. */
export class Call implements WireClient {
  wire: Wire | null = null;
  connection = 0;
  isAccepted = false;
  attempt: Attempt | null = null;
  readonly #device: CallOwner;
  readonly #parser: mqtt.Parser;

  constructor(device: CallOwner) {
    this.#device = device;
    this.#parser = mqtt.parser({ protocolVersion: device.options.version });
    this.#parser.on('packet', (packet) => device.heard(this, packet));
    this.#parser.on('error', (error) => {
      device.options.history.breaches.push(`${device.id}: unreadable bytes: ${String(error)}`);
    });
  }

  onBytes(bytes: Buffer): void {
    this.#parser.parse(bytes);
  }

  onClose(): void {
    this.#device.lost(this);
  }
}
