// The smallest broker that real clients can talk to: listener and connections as they are, and behind them sessions that
// live in memory and deliver live messages only. For tests of what stands in front of the delivery path.

import { AedesShell } from '../../src/connection/aedes-shell.ts';
import { Connections } from '../../src/connection/connections.ts';
import type { ConnectionLimits, PublisherPort, SessionPort } from '../../src/connection/ports.ts';
import { Listener, type ListenerType } from '../../src/listener/listener.ts';
import { encodeAck } from '../../src/mqtt/ack.ts';
import { encodeBody, encodePublish } from '../../src/mqtt/message.ts';
import { PacketType } from '../../src/mqtt/packet-type.ts';
import { NO_EXPIRY, PublishReader } from '../../src/mqtt/publish.ts';
import { topicMatches } from '../../src/mqtt/topic.ts';
import { TopicCache } from '../../src/mqtt/topic-cache.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import type { Link } from '../../src/session/link.ts';
import type { Subscription } from '../../src/store/records.ts';
import { systemClock } from '../../src/util/clock.ts';
import { systemRandom } from '../../src/util/random.ts';
import { allowAll, LIMITS, POLICY } from './connection-fakes.ts';

class MiniSession implements SessionPort {
  readonly clientId: string;
  readonly present: boolean;
  readonly life = 1;
  readonly epoch = 1;
  readonly subscriptions: Map<string, Subscription>;
  link: Link | null = null;
  released: { dropWill: boolean; expirySec: number } | null = null;
  #packetId = 0;

  constructor(clientId: string, earlier: MiniSession | undefined) {
    this.clientId = clientId;
    this.present = earlier !== undefined;
    this.subscriptions = earlier?.subscriptions ?? new Map();
  }
  groupSize(): number {
    return 0;
  }
  attach(link: Link): void {
    this.link = link;
  }
  start(): void {}
  async subscribe(subscriptions: readonly Subscription[]): Promise<void> {
    for (const one of subscriptions) this.subscriptions.set(one.filter, one);
  }
  readRetained(): void {}
  async unsubscribe(filters: readonly string[]): Promise<boolean[]> {
    return filters.map((filter) => this.subscriptions.delete(filter));
  }
  handlePuback(): void {}
  handlePubrec(packetId: number): void {
    const link = this.link!;
    link.send(encodeAck(PacketType.PUBREL, link.version, packetId));
  }
  handlePubcomp(): void {}
  drained(): void {}
  subscriptionCount(): number {
    return this.subscriptions.size;
  }
  has(filter: string): boolean {
    return this.subscriptions.has(filter);
  }
  async release(options: { dropWill: boolean; expirySec: number }): Promise<void> {
    this.released = options;
    this.link = null;
  }

  deliver(topic: string, body: Buffer, messageQos: 0 | 1 | 2): void {
    const { link } = this;
    const qos = Math.max(
      -1,
      ...[...this.subscriptions.values()]
        .filter((one) => topicMatches(one.filter, topic))
        .map((one) => Math.min(one.qos, messageQos)),
    );
    if (link === null || qos < 0 || (qos === 0 && !link.hasRoom())) return;
    this.#packetId = (this.#packetId % 65_535) + 1;
    link.send(
      encodePublish(link.version, body, {
        qos: qos as 0 | 1 | 2,
        retain: false,
        dup: false,
        packetId: this.#packetId,
        subscriptionIds: null,
        expirySec: NO_EXPIRY,
      }),
    );
  }
}

export interface MiniBroker {
  readonly port: number;
  readonly stats: NodeStats;
  readonly sessions: Map<string, MiniSession>;
  readonly connections: Connections;
  close(): Promise<void>;
}

const LISTENER = {
  host: '127.0.0.1',
  port: 0,
  path: '/mqtt',
  tls: null,
  proxyProtocol: 'off' as const,
  trustedProxies: [],
  maxConnections: 20_000,
  maxConnectionsPerSource: 20_000,
  connectTimeoutMs: 5000,
  preConnectMaxBytes: 65_536,
};

const reader = new PublishReader(new TopicCache());

/** Delivers to every session at once and acknowledges at once. */
function openPublisher(link: Link, sessions: ReadonlyMap<string, MiniSession>): PublisherPort {
  const unreleased = new Set<number>();
  return {
    publish(buf, start, bodyStart, end) {
      reader.read(link.version, buf, start, bodyStart, end);
      const { qos, packetId, topic } = reader;
      const body = encodeBody(reader, topic, buf);
      const isRepeat = qos === 2 && unreleased.has(packetId);
      if (qos === 2) unreleased.add(packetId);
      if (!isRepeat) for (const session of sessions.values()) session.deliver(topic, body, qos);
      if (qos === 1) link.send(encodeAck(PacketType.PUBACK, link.version, packetId));
      if (qos === 2) link.send(encodeAck(PacketType.PUBREC, link.version, packetId));
    },
    pubrel(packetId) {
      unreleased.delete(packetId);
      link.send(encodeAck(PacketType.PUBCOMP, link.version, packetId));
    },
    whenTaken: (run) => run(),
    close() {},
  };
}

export async function startMiniBroker(
  type: ListenerType = 'tcp',
  limits: Partial<ConnectionLimits> = {},
): Promise<MiniBroker> {
  const sessions = new Map<string, MiniSession>();
  const stats = new NodeStats();
  const shell = await AedesShell.create();
  const connections = new Connections({
    limits: { ...LIMITS, maxPacketSizeBytes: 1_000_000, topicAliasMaximum: 0, ...limits },
    policy: POLICY,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    stats,
    shell,
    authenticator: allowAll,
    sessions: {
      async claim({ clientId, cleanStart }) {
        const earlier = sessions.get(clientId);
        earlier?.link?.close(0x8e);
        const session = new MiniSession(clientId, cleanStart ? undefined : earlier);
        sessions.set(clientId, session);
        return session;
      },
    },
    ingress: { open: (link) => openPublisher(link, sessions) },
  });
  const listener = new Listener(
    { ...LISTENER, name: type, type },
    1_100_000,
    {
      onStream: (stream) => connections.accept(stream),
      onAccepted() {},
      onClosed() {},
      onRefused() {},
      onError() {},
    },
    systemClock,
  );
  await listener.listen();
  return {
    port: listener.port,
    stats,
    sessions,
    connections,
    async close() {
      listener.close();
      await connections.closeAll(0x8b);
      connections.stop();
      listener.destroyConnections();
      await shell.close();
    },
  };
}
