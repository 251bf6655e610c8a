// What goes to groups of shared subscriptions, as data: a message that looks for one member, and the choice of members as
// the record of a publisher's QoS 2 packet has it. The choosing itself stands in group-fan-out.ts.

import type { Mark } from '../store/operations.ts';

/** Which member of a group gets a message of QoS 2. */
export interface GroupChoice {
  readonly filter: string;
  readonly clientId: string;
}

/** As the record of a publisher's packet has them. */
export function encodeChoices(choices: readonly GroupChoice[] | null): string {
  if (choices === null || choices.length === 0) return '';
  return JSON.stringify(choices.map(({ filter, clientId }) => [filter, clientId]));
}

export function decodeChoices(text: string): GroupChoice[] {
  if (text === '') return [];
  const pairs = JSON.parse(text) as [string, string][];
  return pairs.map(([filter, clientId]) => ({ filter, clientId }));
}

/** A message on its way to one member of a group: a commit, or one that an ended session has left. */
export interface GroupMessage {
  readonly publisher: string;
  readonly topic: string;
  readonly body: Buffer;
  readonly qos: 0 | 1 | 2;
  /** It was published with the retain flag. */
  readonly retain: boolean;
  readonly expiresAt: number;
  readonly ownExpiry: boolean;
  /** By which the members' queues know a repetition. */
  readonly mark: Mark | null;
  /** It may have been given to its member before. */
  readonly isRepetition: boolean;
  /** It has been counted as matched before. */
  readonly isCounted: boolean;
  reasonCode: number;
  /** Who gets it is written down before it is given. */
  readonly isRecorded: boolean;
  /**
   * Writes down that this member gets it, and goes on then with the client id of the one that stands there now: another
   * node may have been faster. Only where `isRecorded`.
   */
  recordChoice(choice: GroupChoice, then: (clientId: string) => void): void;
  /** A member has it. */
  done(): void;
  /** There is no member left. */
  noMember(): void;
}
