// Enhanced authentication as the rest sees it: a mechanism by its name, and one conversation of it with one client. A
// mechanism knows neither packets nor connections: what it says and hears are the Authentication Data of MQTT 5, and how
// many rounds, how many bytes and how long a conversation may take is the connection's to judge. Another mechanism is
// another implementation of `AuthMechanism`, handed to `Authentication`.

/** What a conversation answers to the client's data. Data that is null is left out of the packet. */
export type AuthStep =
  /** The client is to go on: AUTH with reason 0x18. */
  | { readonly kind: 'continue'; readonly data: Buffer | null }
  /** The client is who it says: the data goes into CONNACK, or into AUTH with reason 0. */
  | { readonly kind: 'done'; readonly username: string; readonly data: Buffer | null }
  /** It is not, or did not keep to the mechanism; the reason code for CONNACK or DISCONNECT. */
  | { readonly kind: 'refused'; readonly reasonCode: number };

/** One run of a mechanism with one client. Nothing has to be let go of when it is broken off. */
export interface AuthConversation {
  /** The client's data, null where the packet had none. Called again only when the step before has been answered. */
  next(data: Buffer | null): Promise<AuthStep>;
}

/** A mechanism of enhanced authentication [MQTT5-4.12]. */
export interface AuthMechanism {
  /** The Authentication Method by which clients ask for it. */
  readonly name: string;
  begin(): AuthConversation;
}
