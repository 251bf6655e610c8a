// The catalogue of coded errors. An operating error (bad input, an unreachable store) is a SwarmqError with a code of
// this table; a broken invariant of ours is an AssertionError and ends the process. Codes are never reused.

export const ERRORS = {
  SWARMQ_ERR_CONFIG_INVALID: 'the configuration is not valid',
  SWARMQ_ERR_USAGE: 'the command line is not valid',
  SWARMQ_ERR_CLUSTER_START: 'the local cluster cannot be started',
  SWARMQ_ERR_WORKER_START: 'a worker cannot be started',
  SWARMQ_ERR_LISTEN: 'a listener cannot be opened',
  SWARMQ_ERR_STORE_UNREACHABLE: 'the store cannot be reached',
  SWARMQ_ERR_STORE_UNFIT: 'the store does not fit',
  SWARMQ_ERR_STORE_LOCKED: 'the data directory is in use by another process',
  SWARMQ_ERR_STORE_CLOSED: 'the store was closed',
  SWARMQ_ERR_STORE_REPLY: 'the store answered an error',
  SWARMQ_ERR_RECORD_VERSION: 'a stored record has an unknown version',
  SWARMQ_ERR_RECORD_CORRUPT: 'a stored record cannot be decoded',
  SWARMQ_ERR_PACKET_MALFORMED: 'a packet is malformed',
  SWARMQ_ERR_PACKET_PROTOCOL: 'a packet breaks the protocol',
  SWARMQ_ERR_PACKET_TOO_LARGE: 'a packet is larger than allowed',
  SWARMQ_ERR_PROXY_HEADER: 'the PROXY protocol header is missing or malformed',
  SWARMQ_ERR_SESSION_FENCED: 'the session belongs to another connection',
} as const;

export type ErrorCode = keyof typeof ERRORS;

export class SwarmqError extends Error {
  readonly code: ErrorCode;
  /** MQTT 5 reason code for the client at fault, where there is one. */
  readonly reasonCode: number | undefined;

  constructor(code: ErrorCode, detail: string, options: { reasonCode?: number; cause?: unknown } = {}) {
    super(`${ERRORS[code]}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SwarmqError';
    this.code = code;
    this.reasonCode = options.reasonCode;
  }
}
