// What a connection needs of the rest of the node, as interfaces: the byte stream of a listener, the session it serves,
// the way in for its PUBLISHes, and who may connect. node.ts puts the real parts in; tests put fakes in. Nothing of this
// knows Aedes or sockets.

import type { AuthMechanism } from '../auth/mechanism.ts';
import type { CompiledConfig } from '../config/compile.ts';
import type { Link, ProtocolVersion } from '../session/link.ts';
import type { Subscription } from '../store/records.ts';
import type { StoredWill } from '../store/store.ts';

/** The limits that a connection applies, as the configuration has them. */
export type ConnectionLimits = Pick<
  CompiledConfig['limits'],
  | 'maxConnections'
  | 'maxPacketSizeBytes'
  | 'maxTopicLengthBytes'
  | 'maxTopicLevels'
  | 'maxClientIdLengthBytes'
  | 'maxSubscriptionsPerSession'
  | 'maxGroupMembers'
  | 'receiveMaximum'
  | 'topicAliasMaximum'
  | 'maxKeepAliveMs'
  | 'maxSessionExpiryMs'
  | 'maxConnectionBytes'
>;

/** What clients of MQTT 5 are told, and what is asked of them, as the configuration has it. */
export type ConnectionPolicy = CompiledConfig['connection'];

/** A claimed session, as its connection uses it. */
export interface SessionPort {
  readonly clientId: string;
  /** An earlier session goes on [MQTT-3.2.2-2]. */
  readonly present: boolean;
  readonly life: number;
  readonly epoch: number;
  /** Comes before CONNACK: from now on a takeover closes this link. */
  attach(link: Link): void;
  /** Comes after CONNACK was handed to the outbox: what waits, live delivery. */
  start(): void;
  /** Resolves when record, log and barrier are done and SUBACK may leave. Rejects with a SwarmqError. */
  subscribe(subscriptions: readonly Subscription[]): Promise<void>;
  /** Comes after SUBACK left: reads the retained messages that those subscriptions ask for. */
  readRetained(): void;
  /** Resolves when UNSUBACK may leave, with one answer per filter: did it exist. */
  unsubscribe(filters: readonly string[]): Promise<boolean[]>;
  handlePuback(packetId: number, reasonCode: number): void;
  handlePubrec(packetId: number, reasonCode: number): void;
  handlePubcomp(packetId: number, reasonCode: number): void;
  /** The socket has room again, after hasRoom() had said that it has none. */
  drained(): void;
  subscriptionCount(): number;
  has(filter: string): boolean;
  /** How many share this filter, `$share/<group>/<filter>`, now. */
  groupSize(filter: string): number;
  /** Comes once, as the last call, when the connection is over. */
  release(leave: Leave): Promise<void>;
}

/** What is said of the session where a connection ends. */
export interface Leave {
  /** False for an end without DISCONNECT, and for reason 0x04, "disconnect with will message" [MQTT5-3.14.4-3]. */
  readonly dropWill: boolean;
  readonly expirySec: number;
}

/** What CONNECT asks of the session. */
export interface SessionClaim {
  clientId: string;
  version: ProtocolVersion;
  cleanStart: boolean;
  /** Seconds the session outlives its connections; NEVER_EXPIRES. */
  expirySec: number;
  will: StoredWill | null;
}

export interface SessionsPort {
  /** Waits while the store is away. Rejects with a SwarmqError whose reason code goes into CONNACK. */
  claim(request: SessionClaim): Promise<SessionPort>;
}

/** The way in for the PUBLISHes of one connection. */
export interface PublisherPort {
  /** Takes a PUBLISH where it lies; sends PUBACK and PUBREC itself. Throws a SwarmqError for what ends the connection. */
  publish(buf: Buffer, start: number, bodyStart: number, end: number): void;
  /** Sends PUBCOMP itself. */
  pubrel(packetId: number): void;
  /** Calls `run` when everything handed in so far has been taken in (not committed). */
  whenTaken(run: () => void): void;
  close(): void;
}

export interface IngressPort {
  open(link: Link, session: SessionPort): PublisherPort;
}

export interface AuthenticationRequest {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  readonly username: string | null;
  readonly password: Buffer | null;
  readonly remoteAddress: string;
}

export interface Authenticator {
  /** Resolves with 0, or with the MQTT 5 reason code of the refusal (0x86, 0x87, 0x88, 0x8A, 0x9F, ...). */
  authenticate(request: AuthenticationRequest): Promise<number>;
  /** The mechanism of this Authentication Method, undefined where there is none. */
  mechanism(method: string): AuthMechanism | undefined;
}

/** What a byte stream tells its connection. */
export interface StreamEvents {
  /** The chunk is the connection's own. A few may still come after `pauseReading`. */
  onData(chunk: Buffer): void;
  /** What waits for the transport has become little again. */
  onDrain(): void;
  /** The stream is gone, for whatever reason; comes once, last. */
  onClose(): void;
}

/** One accepted client, by whichever transport: what src/listener/byte-stream.ts offers, as far as it is used here. */
export interface ByteStream {
  /** The address is the client's own, not that of a proxy that told it. */
  readonly info: { readonly listener: string; readonly remoteAddress: string };
  setHandlers(handlers: StreamEvents): void;
  /** False: much is waiting, onDrain follows. */
  write(bytes: Buffer): boolean;
  /** Bytes written that the transport has not taken yet. */
  bytesWaiting(): number;
  pauseReading(): void;
  resumeReading(): void;
  /** The client has sent a whole CONNECT: the listener's limits for strangers end. */
  established(): void;
  /** Sends what waits and closes; what still comes in is dropped. */
  end(): void;
  /** Closes at once; what waits is lost. */
  destroy(): void;
}
