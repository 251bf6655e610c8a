// Faults that are planted into a copy of the compiled program, to see that the laboratory finds them: each breaks one idea
// of the design on purpose by replacing a piece of text. A text that is no longer there is an error, so that the list is
// kept in step with the code. The program itself is never touched.

import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectFile } from '../helpers/command-line.ts';
import { type Owner, temporaryFolder } from '../helpers/owner.ts';
import type { CrowdProfile } from './crowd-people.ts';

interface Edit {
  /** Below the compiled `src`. */
  file: string;
  from: string;
  to: string;
  /** How often the text is there; default once. */
  times?: number;
}

/** Who does not matter here, and would hold up the end of a round by being away. */
const LONG_AWAY: Partial<CrowdProfile> = { mortals: 0, briefs: 0 };

/** A torture that provokes one planted fault: as short as it can be, so that many rounds fit into two minutes. */
export interface Provocation {
  /**
   * The faults of the laboratory under which it shows, one that stands here more often being drawn more often, and how many
   * a minute.
   */
  faults: readonly string[];
  perMinute: number;
  trafficMs: number;
  /** Who has to be there, and how restless they are. */
  profile: Partial<CrowdProfile>;
}

export interface PlantedFault {
  name: string;
  about: string;
  edits: readonly Edit[];
  torture: Provocation;
}

const OWNER_CHECK = 'owner == argv[owners_at + owner_at] and epoch == claimed';

export const PLANTED: readonly PlantedFault[] = [
  {
    name: 'ack before commit',
    about: 'PUBACK and PUBREC leave when the parts of a message are submitted, not when they are answered',
    edits: [
      {
        file: 'delivery/commit.js',
        from: 'if (commit === null || commit.stage < RETAINED || commit.parts > 0)\n            return false;\n        if (this.#fence',
        to: 'if (commit === null || commit.stage < FANNED)\n            return false;\n        if (this.#fence',
      },
    ],
    // Acks run ahead of a link that is slow, and what they speak of goes with the node.
    torture: {
      faults: [...Array.from({ length: 8 }, () => 'redis-delay'), 'node-kill'],
      perMinute: 70,
      trafficMs: 6000,
      profile: { ...LONG_AWAY, ratePerSecond: 600 },
    },
  },
  {
    name: 'packet ids reassigned on resume',
    about: 'each process numbers its packets in its own way',
    edits: [
      {
        file: 'mqtt/packet-id.js',
        from: 'return ((seq - 1) % count) + first;',
        to: 'return ((seq - 1 + process.pid * 97) % count) + first;',
      },
    ],
    // PUBREC is on its way to a slow store when the subscriber moves on: it gets the message again, as another one.
    torture: {
      faults: ['redis-delay', 'clients-cut'],
      perMinute: 60,
      trafficMs: 5000,
      profile: { ratePerSecond: 600, subscribers: 16, patience: 0.2 },
    },
  },
  {
    name: 'no epoch check',
    about: 'the store does not look at who sends: what an owner of before still does counts',
    edits: [
      {
        file: 'store/redis/scripts/commit-sessions.lua',
        from: `${OWNER_CHECK} and sent_at >= stamp`,
        to: 'true',
        times: 2,
      },
      { file: 'store/redis/scripts/commit-sessions.lua', from: OWNER_CHECK, to: 'true' },
      {
        file: 'store/redis/scripts/release-session.lua',
        from: 'if not life or m[2] ~= incarnation or epoch ~= tonumber(ARGV[5]) then',
        to: 'if not life then',
      },
    ],
    // A node lets go of a session that another one has claimed meanwhile: its will is published although it goes on.
    torture: {
      faults: ['redis-delay', 'clients-cut'],
      perMinute: 50,
      trafficMs: 8000,
      profile: { ratePerSecond: 500, mortals: 24, subscribers: 24, patience: 0.2 },
    },
  },
  {
    name: 'inbox read from the end after a reconnect',
    about: 'a reader of a node inbox goes on from `$` instead of the last id that it has',
    edits: [
      {
        file: 'store/redis/inbox-reader.js',
        from: '            proceed();\n',
        to: "            if (this.#reader.lastId !== START)\n                this.#reader.lastId = '$';\n            proceed();\n",
      },
    ],
    // Sessions with a queue make good for it; those that end with their connection cannot, and have to stay for that.
    torture: {
      faults: ['redis-cut', 'redis-tear'],
      perMinute: 60,
      trafficMs: 6000,
      profile: { ...LONG_AWAY, ratePerSecond: 600, cleanSubscribers: 16, patience: 3 },
    },
  },
  {
    name: 'route log entry skipped',
    about: 'every fourth entry of the route log is counted as applied and is not',
    edits: [
      {
        file: 'cluster/route-log.js',
        from: 'const record = routes.applyEntry(entry.payload);',
        to: "const record = entry.version % 4 === 0 ? { kind: 'row' } : routes.applyEntry(entry.payload);",
      },
    ],
    // A subscription that a node does not know of misses what is published there until it is made anew.
    torture: {
      faults: ['clients-cut'],
      perMinute: 10,
      trafficMs: 4000,
      profile: { ...LONG_AWAY, ratePerSecond: 300 },
    },
  },
  {
    name: 'no dedup record of QoS 2',
    about: 'a message of QoS 2 carries no mark, so that its repetition is a message of its own',
    edits: [
      { file: 'delivery/inbound-qos2.js', from: 'commit.mark = { key, mid };', to: 'commit.mark = null;' },
    ],
    // Publishers lose their connection while PUBREC is under way, and repeat on another node.
    torture: {
      faults: ['clients-delay', 'clients-cut'],
      perMinute: 60,
      trafficMs: 5000,
      profile: { ratePerSecond: 600, patience: 0.2 },
    },
  },
  {
    name: 'expiry timer kept in the process',
    about: 'the store knows no end of a session: the node that let go of it throws it away after its time',
    edits: [
      {
        file: 'session/sessions.js',
        from: 'await this.#options.serving();',
        to: 'await this.#options.serving();\n        clearTimeout(this.timers?.get(request.clientId));',
      },
      {
        file: 'session/sessions.js',
        from: 'const released = await store.release(leaving);',
        to: `const seconds = leaving.expirySec;
        const isTimed = seconds > 0 && seconds < 4294967295;
        this.timers ??= new Map();
        if (isTimed) this.timers.set(clientId, setTimeout(async () => {
            const request = { clientId, cleanStart: true, expirySec: 0, will: null };
            const { epoch } = await this.#claimed(request, () => 0);
            const owner = { incarnation: this.#options.incarnation, epoch };
            await store.release({ clientId, owner, dropWill: true, expirySec: 0, sent: 0 });
        }, seconds * 1000).unref());
        const released = await store.release(isTimed ? { ...leaving, expirySec: 4294967295 } : leaving);`,
      },
    ],
    // Sessions of two seconds that move from node to node, one of which remembers a timer.
    torture: {
      faults: ['clients-cut'],
      perMinute: 8,
      trafficMs: 7000,
      profile: { ratePerSecond: 300, briefs: 16, patience: 0.2 },
    },
  },
];

/** A copy of the compiled program with `fault` in it; answers the words that start it. Throws where a text is missing. */
export function plant(owner: Owner, fault: PlantedFault): string[] {
  const folder = temporaryFolder(owner, 'planted');
  const program = join(folder, 'dist', 'src');
  cpSync(projectFile('dist/src'), program, { recursive: true });
  cpSync(projectFile('package.json'), join(folder, 'package.json'));
  symlinkSync(projectFile('node_modules'), join(folder, 'node_modules'));
  for (const { file, from, to, times = 1 } of fault.edits) {
    const path = join(program, file);
    const parts = readFileSync(path, 'utf8').split(from);
    if (parts.length - 1 !== times) {
      throw new Error(
        `${fault.name}: the text is ${parts.length - 1} times in ${file}, not ${times}: ${from}`,
      );
    }
    writeFileSync(path, parts.join(to));
  }
  return [process.execPath, join(program, 'main.js')];
}
