// Faults that are planted into a copy of the compiled program, to see that the laboratory finds them: each breaks one idea
// of the design on purpose by replacing a piece of text. A text that is no longer there is an error, so that the list is
// kept in step with the code. The program itself is never touched.

import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectFile } from '../helpers/command-line.ts';
import { type Owner, temporaryFolder } from '../helpers/owner.ts';

interface Edit {
  /** Below the compiled `src`. */
  file: string;
  from: string;
  to: string;
  /** How often the text is there; default once. */
  times?: number;
}

export interface PlantedFault {
  name: string;
  about: string;
  edits: readonly Edit[];
  /** The faults of the laboratory under which it shows, and how many a minute. */
  faults: readonly string[];
  perMinute: number;
}

const OWNER_CHECK = 'owner == argv[at + 1] and epoch == argv[at + 2]';

export const PLANTED: readonly PlantedFault[] = [
  {
    name: 'ack before commit',
    about: 'PUBACK and PUBREC leave when the parts of a message are submitted, not when they are answered',
    edits: [
      {
        file: 'delivery/commit.js',
        from: 'if (commit === null || commit.stage < RETAINED || commit.parts > 0)\n            return false;\n        if (!this.#gate',
        to: 'if (commit === null || commit.stage < FANNED)\n            return false;\n        if (!this.#gate',
      },
    ],
    // What is acknowledged while Redis is silent goes with the node.
    faults: ['node-kill', 'node-kill-all', 'redis-silence', 'redis-freeze'],
    perMinute: 40,
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
    faults: ['node-kill', 'clients-cut'],
    perMinute: 30,
  },
  {
    name: 'no epoch check',
    about: 'the store does not look at who sends: what an owner of before still does counts',
    edits: [
      { file: 'store/redis/scripts/commit-sessions.lua', from: OWNER_CHECK, to: 'true', times: 4 },
      {
        file: 'store/redis/scripts/release-session.lua',
        from: 'if not life or m[2] ~= incarnation or m[3] ~= epoch then',
        to: 'if not life then',
      },
    ],
    faults: ['node-freeze', 'clients-silence', 'clients-cut'],
    perMinute: 30,
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
    faults: ['redis-client-kill', 'redis-cut', 'redis-tear'],
    perMinute: 60,
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
    faults: ['clients-cut'],
    perMinute: 6,
  },
  {
    name: 'no dedup record of QoS 2',
    about: 'a message of QoS 2 carries no mark, so that its repetition is a message of its own',
    edits: [
      {
        file: 'delivery/inbound-qos2.js',
        from: 'commit.mark = { key: markKey(commit.publisher, record.slot), mid: record.mid };',
        to: 'commit.mark = null;',
      },
      {
        file: 'delivery/inbound-qos2.js',
        from: 'commit.mark = { key: markKey(commit.publisher, reception.slot), mid: reception.mid };',
        to: 'commit.mark = null;',
      },
    ],
    faults: ['node-kill', 'clients-cut', 'clients-tear'],
    perMinute: 40,
  },
  {
    name: 'expiry timer kept in the process',
    about: 'the store knows no end of a session: the node that let go of it throws it away after its time',
    edits: [
      {
        file: 'session/sessions.js',
        from: 'const released = await store.release(leaving);',
        to: `const seconds = leaving.expirySec;
        const isTimed = seconds > 0 && seconds < 4294967295;
        if (isTimed) setTimeout(async () => {
            const { epoch } = await this.#claimed({ clientId, cleanStart: true, expirySec: 0, will: null });
            const owner = { incarnation: this.#options.incarnation, epoch };
            await store.release({ clientId, owner, dropWill: true, expirySec: 0, sent: 0 });
        }, seconds * 1000).unref();
        const released = await store.release(isTimed ? { ...leaving, expirySec: 4294967295 } : leaving);`,
      },
    ],
    faults: ['node-kill', 'clients-cut'],
    perMinute: 20,
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
