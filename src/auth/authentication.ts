// Who may connect. Without users in the configuration everybody may, as whoever they say; with users a client needs a
// user name and its password, or enhanced authentication by one of the mechanisms. Both know the same users. Nothing here
// says what a client may do once it is connected.

import { ReasonCode } from '../mqtt/reason-code.ts';
import type { Random } from '../util/random.ts';
import type { AuthMechanism } from './mechanism.ts';
import { ScramSha256 } from './scram.ts';
import { type UserEntry, Users } from './users.ts';

export interface AuthenticationOptions {
  readonly users: readonly UserEntry[];
  /** Clients without user name and method are let in although there are users. */
  readonly allowAnonymous: boolean;
  readonly random: Random;
}

/** The credentials of a CONNECT. */
export interface Credentials {
  readonly username: string | null;
  readonly password: Buffer | null;
}

export class Authentication {
  readonly #users: Users;
  readonly #allowAnonymous: boolean;
  readonly #mechanisms: ReadonlyMap<string, AuthMechanism>;

  /** `mechanisms` are those beside SCRAM-SHA-256, which is there when there are users. */
  constructor(options: AuthenticationOptions, mechanisms: readonly AuthMechanism[] = []) {
    const { users, allowAnonymous, random } = options;
    this.#users = new Users(users, random);
    this.#allowAnonymous = allowAnonymous || users.length === 0;
    const all = users.length === 0 ? mechanisms : [new ScramSha256(this.#users, random), ...mechanisms];
    this.#mechanisms = new Map(all.map((mechanism) => [mechanism.name, mechanism]));
  }

  /** Resolves with 0, 0x86 for a wrong name or password, 0x87 where there is none and one is needed. */
  async authenticate({ username, password }: Credentials): Promise<number> {
    if (this.#users.size === 0) return ReasonCode.SUCCESS;
    if (username === null) {
      return this.#allowAnonymous ? ReasonCode.SUCCESS : ReasonCode.NOT_AUTHORIZED;
    }
    const isRight = await this.#users.check(username, password ?? Buffer.alloc(0));
    return isRight ? ReasonCode.SUCCESS : ReasonCode.BAD_USER_NAME_OR_PASSWORD;
  }

  /** The mechanism of an Authentication Method, or undefined where there is none of this name [MQTT5-4.12.0-1]. */
  mechanism(name: string): AuthMechanism | undefined {
    return this.#mechanisms.get(name);
  }
}
