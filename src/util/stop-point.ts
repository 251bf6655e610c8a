// Named points between two steps of a publish, an ack, a takeover, a resume, a subscription, a move to other members of a
// group and a will, at which a test may end or freeze this process (SWARMQ_TEST_STOP_AT, read in config/env.ts). They are
// compiled in, so that what a test kills is what runs everywhere, and off unless the test asks: then a point costs one
// look at a variable of this file.
// Invariant: at most one point is armed, and it stops the process once.

import { SwarmqError } from './errors.ts';

/** Every point, by what has been done and what has not when it is passed. A kill there loses what is not in the store. */
export const STOP_POINTS = {
  'publish/recorded': 'the QoS 2 record is committed; nothing is enqueued',
  'publish/payload-stored': 'the shared payload is committed; nothing refers to it',
  'publish/enqueued': 'the answer to one enqueue has come; its owner has not been told',
  'publish/before-retain': 'all enqueues are committed; the retained write is not submitted',
  'publish/retained': 'the retained write is committed; nothing is answered',
  'publish/committed': 'all of a message is committed; PUBACK or PUBREC has not left',
  'publish/pubrel': 'PUBREL of a publisher has come; its record stands',
  'publish/forgotten': 'the QoS 2 record is removed; PUBCOMP has not left',
  'ack/puback': "a subscriber's PUBACK has come; nothing is submitted",
  'ack/pubrec': "a subscriber's PUBREC has come; nothing is submitted",
  'ack/pubcomp': "a subscriber's PUBCOMP has come; nothing is submitted",
  'ack/sealed': 'the acks of a session are about to be sent to the store',
  'ack/committed': 'the acks of a session are committed; PUBREL has not left for those of PUBREC',
  'claim/done': 'the claim is committed; the owner before has not been told',
  'claim/noticed': 'the notice of the takeover is under way; what the claim found is not seen to',
  'connect/before-connack': 'the session is made; CONNACK has not left',
  'resume/pulling': 'CONNACK has been written; a pull is about to be sent',
  'resume/pulled': 'a part of the window was read; none of it is sent',
  'subscribe/recorded': 'the row is written; the log knows nothing of it',
  'subscribe/appended': 'the log has the row; nobody has been waited for',
  'subscribe/known': 'every node knows the row; it is still marked as pending',
  'subscribe/settled': 'the row is settled; SUBACK has not left',
  'unsubscribe/recorded': 'the row is written without the filter; the log knows nothing of it',
  'unsubscribe/appended': 'the log has the row; older matches are not refused yet',
  'orphans/assigned': 'who gets the messages of an ended session is written down; none is given',
  'orphans/given': 'others have the messages of an ended session; they still lie where it left them',
  'will/taken': 'a will was taken out of its session; nothing of it is published',
  'will/published': 'a will is committed everywhere; it still lies among the taken ones',
} as const;

export type StopPoint = keyof typeof STOP_POINTS;

const SIGNALS = { kill: 'SIGKILL', pause: 'SIGSTOP' } as const;

let armed: StopPoint | null = null;
let signal: (typeof SIGNALS)[keyof typeof SIGNALS] = 'SIGKILL';
let passesLeft = 0;

/** Stops the process here when this is the point, and the passing of it, that was asked for. */
export function stopPoint(name: StopPoint): void {
  if (armed === name) reach();
}

/**
 * Arms a point: `NAME`, `NAME:NTH` or `NAME:NTH:ACTION`, for the nth passing from now on (the first unless said), by
 * `kill` (SIGKILL, unless said) or `pause` (SIGSTOP). Throws SWARMQ_ERR_CONFIG_INVALID for what is no such text.
 */
export function armStopPoint(text: string): void {
  const [name = '', nth = '1', action = 'kill', ...rest] = text.split(':');
  const isKnown = Object.hasOwn(STOP_POINTS, name) && Object.hasOwn(SIGNALS, action);
  if (!isKnown || !/^[1-9]\d{0,8}$/.test(nth) || rest.length > 0) {
    throw new SwarmqError('SWARMQ_ERR_CONFIG_INVALID', `'${text}' is no stop point`);
  }
  armed = name as StopPoint;
  signal = SIGNALS[action as keyof typeof SIGNALS];
  passesLeft = Number(nth);
}

function reach(): void {
  passesLeft--;
  if (passesLeft > 0) return;
  armed = null;
  // Both take effect before this returns: no line of this process runs behind it, or none until SIGCONT.
  process.kill(process.pid, signal);
}
