// What an error reply means for the call that got it: repeat it, find the new master, load the scripts, wait for memory,
// or tell that it is broken. During the move of a Cluster slot a script with absent keys runs on neither side (TRYAGAIN
// here, ASK there), because all keys are declared and ASKING does not help several keys; so ASK, too, is waited out.

export type Refusal =
  /** Cut connection, LOADING, BUSY, TRYAGAIN, ...: again, a little later. */
  | 'passing'
  /** The slot is elsewhere, or its move is under way: read the slot map, then again. */
  | 'moved'
  /** The server is a replica now: connect again. */
  | 'demoted'
  | 'no-script'
  | 'memory'
  /** An error that repeating does not cure: a bug of ours, or damaged data. */
  | 'broken';

const PASSING = [
  'LOADING',
  'BUSY',
  'TRYAGAIN',
  'MASTERDOWN',
  'NOREPLICAS',
  'MISCONF',
  'UNBLOCKED',
  'NOAUTH',
  'NOPERM',
];

export function classifyRefusal(error: Error): Refusal {
  if (error.name !== 'ReplyError') return 'passing';
  const message = error.message;
  const code = message.split(' ', 1)[0]!.replace(/^-/, '');
  if (PASSING.includes(code)) return 'passing';
  if (code === 'MOVED' || code === 'ASK' || code === 'CLUSTERDOWN') return 'moved';
  if (code === 'READONLY' || message.includes('READONLY')) return 'demoted';
  // What WAIT and WAITAOF say when the role changed behind the writes of the same batch; it has no code of its own.
  if (/^ERR WAIT(AOF)? cannot be used with replica/.test(message)) return 'demoted';
  // Somebody has switched the file off that WAITAOF waits for: nothing is committed until it is back.
  if (/^ERR WAITAOF cannot be used .*appendonly is disabled/.test(message)) return 'passing';
  // Where a script was refused a command, 6.2 puts its own words before the code; a right that is missing has none at all.
  if (/\b(MISCONF|NOPERM|NOREPLICAS) |can't run this command|ACL failure in script/.test(message))
    return 'passing';
  if (code === 'NOSCRIPT') return 'no-script';
  if (code === 'OOM' || message.includes('OOM ')) return 'memory';
  return 'broken';
}

/** TRYAGAIN: passes by itself when the slot has moved, and says nothing of what the server does with other calls. */
export function isSlotOnTheMove(error: Error): boolean {
  return error.name === 'ReplyError' && error.message.startsWith('TRYAGAIN ');
}
