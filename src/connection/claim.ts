// The steps of CONNECT that wait for others: who is it, and the claim of the session. A client that goes away meanwhile
// is noticed when they are done: its claim stands then, and is given back as an abnormal end.

import { ReasonCode } from '../mqtt/reason-code.ts';
import type { NodeStats } from '../observability/node-stats.ts';
import { SwarmqError } from '../util/errors.ts';
import type { ConnectTerms } from './connect.ts';
import type { Authenticator, ConnectionLimits, Leave, SessionPort, SessionsPort } from './ports.ts';

export interface ClaimContext {
  readonly limits: ConnectionLimits;
  readonly stats: NodeStats;
  readonly authenticator: Authenticator;
  readonly sessions: SessionsPort;
  /** CONNECTs that wait for authentication or their claim; bounded by limits.maxConnections. */
  claimsUnderWay: number;
}

/** The session, or the MQTT 5 reason code of a refusal. Waits as long as the store is away. */
export async function claimSession(
  context: ClaimContext,
  terms: ConnectTerms,
  remoteAddress: string,
  isWanted: () => boolean,
): Promise<SessionPort | number> {
  // Connections are bounded, but clients that gave up waiting have left their claims behind.
  if (context.claimsUnderWay >= context.limits.maxConnections) return ReasonCode.SERVER_BUSY;
  context.claimsUnderWay++;
  try {
    const refusal = await authenticate(context, terms, remoteAddress);
    if (refusal !== 0) return refusal;
    if (!isWanted()) return ReasonCode.UNSPECIFIED_ERROR;
    const { clientId, version, cleanStart, expirySec, will } = terms;
    return await context.sessions.claim({ clientId, version, cleanStart, expirySec, will });
  } catch (error) {
    if (!(error instanceof SwarmqError)) throw error;
    return error.reasonCode ?? ReasonCode.SERVER_UNAVAILABLE;
  } finally {
    context.claimsUnderWay--;
  }
}

async function authenticate(
  context: ClaimContext,
  terms: ConnectTerms,
  remoteAddress: string,
): Promise<number> {
  // Who has been through an exchange of AUTH packets has said who it is.
  if (terms.authMethod !== null) return 0;
  const { clientId, version, username, password } = terms;
  const { stats, authenticator } = context;
  const refusal = await authenticator.authenticate({ clientId, version, username, password, remoteAddress });
  if (refusal === 0) stats.authenticationsAccepted++;
  else stats.authenticationsRefused++;
  return refusal;
}

/**
 * How long a connection that is over may leave its socket open. A client that was told to go: a takeover is to be done
 * within a second. One that leaves: until its session is given back, unless the store is away.
 */
export function closeGraceMs(leave: Leave | null): number {
  return leave === null ? 500 : 5000;
}

/** Gives a session back. What fails because the store is closed, or refuses it, is seen to without this connection. */
export async function releaseSession(session: SessionPort, leave: Leave): Promise<void> {
  try {
    await session.release(leave);
  } catch (error) {
    if (!(error instanceof SwarmqError)) throw error;
  }
}
