// What goes to groups of shared subscriptions, as data: a message that looks for one member, and the choice of members as
// the record of a publisher's QoS 2 packet has it. The choosing itself stands in group-fan-out.ts.

import type { GroupMember, SharedGroups } from '../routing/shared-groups.ts';
import type { Mark } from '../store/operations.ts';

/**
 * Which member of a group gets a message of QoS 2. Written down are group and client; the member is the one that it was
 * on this node when that was written or confirmed. A client that has gone since and come back is another one: somebody
 * else may have been written down meanwhile, because this one never would have the message.
 */
export interface GroupChoice {
  readonly filter: string;
  readonly clientId: string;
  /** Null where the client was no member. */
  readonly member: GroupMember | null;
  /** Life of that member's session then. */
  readonly life: number;
}

export function choiceOf(member: GroupMember): GroupChoice {
  const { group, clientId, life } = member;
  return { filter: group.filter, clientId, member, life };
}

/** A choice as the client is a member now. */
export function choiceOfClient(groups: SharedGroups, filter: string, clientId: string): GroupChoice {
  const member = groups.get(filter)?.members.find((one) => one.clientId === clientId);
  return member === undefined ? { filter, clientId, member: null, life: 0 } : choiceOf(member);
}

/** The member that was chosen, if it has been one all the time since; else null. */
export function memberStill({ member, life }: GroupChoice): GroupMember | null {
  return member !== null && member.life === life && member.group.members.includes(member) ? member : null;
}

/** As the record of a publisher's packet has them. */
export function encodeChoices(choices: readonly GroupChoice[] | null): string {
  if (choices === null || choices.length === 0) return '';
  return JSON.stringify(choices.map(({ filter, clientId }) => [filter, clientId]));
}

export function decodeChoices(text: string, groups: SharedGroups): GroupChoice[] {
  if (text === '') return [];
  const pairs = JSON.parse(text) as [string, string][];
  return pairs.map(([filter, clientId]) => choiceOfClient(groups, filter, clientId));
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
