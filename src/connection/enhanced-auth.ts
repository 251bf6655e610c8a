// One client's enhanced authentication: the exchange that its CONNECT began, and later ones that it asks for on the open
// connection. Holds the rules of the standard for AUTH (the method stays what CONNECT named, 0x18 goes on with an exchange,
// 0x19 begins another) and the limits: so many packets, so long. What is said is the mechanism's.

import type { AuthConversation, AuthMechanism, AuthStep } from '../auth/mechanism.ts';
import { protocolError } from '../mqtt/bytes.ts';
import { parseClientPacket } from '../mqtt/codec.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import { Limit, type NodeStats } from '../observability/node-stats.ts';

/** Packets of the client in one exchange; the longest mechanism in use takes four. */
const ROUNDS_MAX = 8;
/** How long an exchange on an open connection may take. One before CONNACK has what is left of the listener's time. */
const EXCHANGE_MS = 10_000;

const REFUSED: AuthStep = { kind: 'refused', reasonCode: ReasonCode.NOT_AUTHORIZED };

export class EnhancedAuth {
  readonly method: string;
  readonly #mechanism: AuthMechanism;
  readonly #stats: NodeStats;
  #conversation: AuthConversation | null = null;
  #rounds = 0;
  #username: string | null = null;
  /** When the exchange under way must be over, in the owner's time; Infinity where none is. */
  dueMs = Number.POSITIVE_INFINITY;

  constructor(mechanism: AuthMechanism, stats: NodeStats) {
    this.#mechanism = mechanism;
    this.method = mechanism.name;
    this.#stats = stats;
  }

  /**
   * Reads the AUTH packet `bytes`; one that begins an exchange must be over in 10 s from `nowMs`. Answers its data. Throws
   * SWARMQ_ERR_PACKET_MALFORMED, or SWARMQ_ERR_PACKET_PROTOCOL for one that may not come now or names another method.
   */
  read(bytes: Buffer, nowMs: number): Buffer | null {
    const packet = parseClientPacket(5, bytes);
    if (packet.cmd !== 'auth') throw protocolError(`${packet.cmd} instead of AUTH [MQTT-3.1.2-30]`);
    const isBeginning = packet.reasonCode === ReasonCode.REAUTHENTICATE;
    if (isBeginning === (this.#conversation !== null)) {
      throw protocolError(isBeginning ? 'AUTH 0x19 in an exchange' : 'AUTH 0x18 without an exchange');
    }
    if (packet.properties?.authenticationMethod !== this.method) {
      throw protocolError('AUTH with another method than CONNECT [MQTT-4.12.0-5]');
    }
    if (isBeginning) this.dueMs = nowMs + EXCHANGE_MS;
    return (packet.properties.authenticationData as Buffer | undefined) ?? null;
  }

  /** The next step of the exchange, or the first of a new one. */
  async step(data: Buffer | null): Promise<AuthStep> {
    if (this.#conversation === null) {
      this.#conversation = this.#mechanism.begin();
      this.#rounds = 0;
    }
    this.#rounds++;
    if (this.#rounds > ROUNDS_MAX) {
      this.#stats.limitRejections[Limit.AUTHENTICATION]++;
      return this.#over(REFUSED);
    }
    const step = await this.#conversation.next(data);
    if (step.kind === 'continue') return step;
    if (step.kind === 'refused') return this.#over(step);
    // Whoever a connection belongs to stays the same [MQTT-4.12.1-1].
    const isOther = this.#username !== null && this.#username !== step.username;
    this.#username = step.username;
    return this.#over(isOther ? REFUSED : step);
  }

  #over(step: AuthStep): AuthStep {
    this.#conversation = null;
    this.dueMs = Number.POSITIVE_INFINITY;
    if (step.kind === 'done') this.#stats.authenticationsAccepted++;
    else this.#stats.authenticationsRefused++;
    return step;
  }
}
