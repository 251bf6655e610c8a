// Aedes as the shell of every connection's life: CONNECT with authentication, SUBSCRIBE, UNSUBSCRIBE and DISCONNECT run
// through one Aedes broker, each on a stream of ours. What a cluster must decide elsewhere is taken from it: it stores
// nothing (sessions are ours), delivers nothing (PUBLISH never reaches it), registers no client by its id (that would
// take over and close without an epoch), and is told of no subscription (authorizeSubscribe judges, and then refuses
// each, so that neither a closure nor a map entry is kept for any). A CONNECT is done where Aedes, having admitted its
// client, turns to the session: what comes after that there (its will, its queue as a pipeline of two streams) would do
// nothing and costs two thirds of a connection. This is the only file that imports Aedes. What it touches of Aedes'
// inside is listed in `AEDES_INTERNALS`, which a test compares with the installed version.

import { type Duplex, Readable } from 'node:stream';
import { Aedes } from 'aedes';
import { type ControlEvents, ControlStream } from './control-stream.ts';

/** What is replaced or relied on beyond Aedes' documented interface. */
export const AEDES_INTERNALS = {
  version: '2.0.0-beta.1',
  /** Replaced on the broker: does nothing, so that `clients` stays empty and no session timer is ever armed. */
  brokerMethods: ['registerClient'],
  /** Set as Aedes does at the end of a CONNECT, of which it does not come to the end itself. */
  clientFields: ['connecting', 'connected', 'connackSent'],
  clientMethods: ['resume', 'emit'],
  /** Plain objects keyed by names from the wire: replaced by prototype-free ones. */
  brokerMaps: ['clients', 'brokers'],
  clientMaps: ['subscriptions', 'duplicates'],
} as const;

/** Longest interval of a timer (2^31 - 1 ms) by four: Aedes looks for wills every fourth heartbeat. */
const HEARTBEAT_MS = Math.floor(0x7fffffff / 4);
const CONNECT_TIMEOUT_MS = 0x7fffffff;

type Done = (error?: Error | null) => void;

/** Aedes' emitter: takes no listener, and what is emitted goes nowhere. */
const silentEmitter = {
  on(_topic: string, _listener: unknown, done?: Done): void {
    done?.();
  },
  removeListener(_topic: string, _listener: unknown, done?: Done): void {
    done?.();
  },
  emit(_packet: unknown, done: Done): void {
    done();
  },
  close(done: Done): void {
    done();
  },
};

/** Ends at once. */
class EmptyStream extends Readable {
  override _read(): void {
    this.push(null);
  }
}

const nothing = (): Promise<void> => Promise.resolve();

/** Aedes' persistence: empty, and stays so. */
const emptyPersistence = {
  async setup(): Promise<void> {},
  storeRetained: nothing,
  subscriptionsByTopic: () => Promise.resolve([]),
  addSubscriptions: nothing,
  removeSubscriptions: nothing,
  cleanSubscriptions: takeIn,
  streamWill: () => new EmptyStream(),
};

/** A client as Aedes makes it, with what we touch. */
interface AedesClient {
  conn: unknown;
  connecting: boolean;
  connected: boolean;
  connackSent: boolean;
  subscriptions: object;
  duplicates: object;
  emit(event: 'connected'): void;
  resume(): void;
}

interface AedesInside {
  registerClient: (client: unknown) => void;
  clients: object;
  brokers: object;
}

const streamOf = (client: unknown): ControlStream => (client as AedesClient).conn as ControlStream;

/** What the maps of all clients are: nothing is ever put in. */
const NO_ENTRIES: object = Object.freeze(Object.create(null));

/** An admitted client's session is to be wiped: from here on its packets are taken. What would follow waits for ever. */
function takeIn(client: AedesClient): Promise<void> {
  client.connecting = false;
  client.connected = true;
  client.connackSent = true;
  client.emit('connected');
  client.resume();
  streamOf(client).events.onAdmitted();
  return new Promise(() => {});
}

export class AedesShell {
  readonly #broker: Aedes;

  private constructor(broker: Aedes) {
    this.#broker = broker;
  }

  /** Makes the one broker of a node. */
  static async create(): Promise<AedesShell> {
    const broker = new Aedes({
      mq: silentEmitter,
      persistence: emptyPersistence,
      heartbeatInterval: HEARTBEAT_MS,
      connectTimeout: CONNECT_TIMEOUT_MS,
      // A connection that does not drain is the outbox's matter.
      drainTimeout: 0,
      maxClientsIdLength: Number.POSITIVE_INFINITY,
      authenticate(client, _username, _password, done) {
        const stream = streamOf(client);
        stream.admission = done as ControlStream['admission'];
        stream.events.onAuthenticate();
      },
      authorizeSubscribe(client, subscription, done) {
        // Filters stand as their places in the packet (subscribe.ts).
        streamOf(client).events.onAuthorizeSubscribe(Number(subscription.topic));
        done(null, null);
      },
    });
    const inside = broker as unknown as AedesInside;
    inside.registerClient = () => {};
    inside.clients = Object.create(null);
    inside.brokers = Object.create(null);
    await (broker as unknown as { listen(): Promise<void> }).listen();
    return new AedesShell(broker);
  }

  /** A new client of Aedes, to be opened when a whole CONNECT is at hand. */
  open(events: ControlEvents): ControlStream {
    const stream = new ControlStream(events);
    const client = this.#broker.handle(stream as unknown as Duplex) as unknown as AedesClient;
    client.subscriptions = NO_ENTRIES;
    client.duplicates = NO_ENTRIES;
    return stream;
  }

  /** Ends Aedes' timers. Connections are ended by their owner. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#broker.close(resolve);
    });
  }
}
