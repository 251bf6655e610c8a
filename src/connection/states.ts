// The states of a connection, in the order in which it passes them: small integers, because they are looked at for every
// packet. A connection never goes back to an earlier one.

export const AWAITS_CONNECT = 0;
/** CONNECT named a method of enhanced authentication, whose packets go back and forth. */
export const AUTHENTICATING = 1;
export const CONNECTING = 2;
export const ESTABLISHED = 3;
/** Nothing is read or sent any more; the stream is being ended. */
export const CLOSING = 4;
export const CLOSED = 5;
