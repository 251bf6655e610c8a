// The fuzzer for half a minute from a fixed seed, and the way of any bytes through framer and readers in this process.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { AckReader } from '../../src/mqtt/ack.ts';
import { checkControlPacket } from '../../src/mqtt/control-packet.ts';
import { Framer } from '../../src/mqtt/framer.ts';
import { PublishReader } from '../../src/mqtt/publish.ts';
import { TopicCache } from '../../src/mqtt/topic-cache.ts';
import { SwarmqError } from '../../src/util/errors.ts';
import { cleanEnvironment } from '../helpers/command-line.ts';
import { chunksOf, Fuzzer } from './fuzz.ts';
import { anyPacket, BREAKAGES, type Breakage, Dice } from './fuzz-packets.ts';
import { startFuzzWorld } from './fuzz-world.ts';
import type { Version } from './packets.ts';

t.setTimeout(300_000);

const SEED = 1;
const SECONDS = 25;
/** Resident megabytes that a node may gain within the run: what a heap takes before it is collected. */
const GROWTH_MB = 150;

/** Reads a stream as a connection does, in chunks; answers each packet's type and the fault that ended it. */
function read(version: Version, chunks: readonly Buffer[]): string[] {
  const told: string[] = [];
  const publish = new PublishReader(new TopicCache());
  const ack = new AckReader();
  const framer = new Framer(
    {
      onPacket(buf, start, bodyStart, end) {
        const type = buf[start]! >> 4;
        told.push(`${type}:${end - start}`);
        if (type === 3) publish.read(version, buf, start, bodyStart, end);
        else if (type >= 4 && type <= 7) ack.read(version, buf, start, bodyStart, end);
        else checkControlPacket(version, buf, start, bodyStart, end);
      },
    },
    65_536,
  );
  try {
    for (const chunk of chunks) framer.push(Buffer.from(chunk));
  } catch (error) {
    if (!(error instanceof SwarmqError)) throw error;
    told.push(error.message);
  }
  return told;
}

t.test(
  'any packets, good and broken: the same result however they are split, and never an error of ours',
  async (t) => {
    const dice = new Dice(SEED);
    t.comment(`seed ${SEED}`);
    let faults = 0;
    for (let round = 0; round < 8000; round++) {
      const version = dice.of([3, 4, 5] as const);
      const packets = Array.from({ length: 1 + dice.below(4) }, () => {
        const good = anyPacket(dice, version, 1 + dice.below(15));
        return dice.chance(40) ? BREAKAGES[dice.of(Object.keys(BREAKAGES) as Breakage[])](dice, good) : good;
      });
      const whole = Buffer.concat(packets);
      const once = read(version, [whole]);
      const split = read(version, chunksOf(dice, packets));
      const bytes =
        whole.length < 300
          ? read(
              version,
              [...whole].map((byte) => Buffer.of(byte)),
            )
          : once;
      if (JSON.stringify(once) !== JSON.stringify(split) || JSON.stringify(once) !== JSON.stringify(bytes)) {
        faults++;
        t.same(split, once, whole.toString('hex'));
        t.same(bytes, once, whole.toString('hex'));
        if (faults > 5) return;
      }
    }
    t.equal(faults, 0);
  },
);

t.test('running nodes: no crash, no hang, no error logged, memory flat, bystanders served', async (t) => {
  const world = await startFuzzWorld(t);
  t.comment(`seed ${SEED}`);
  const untilMs = performance.now() + SECONDS * 1000;
  const fuzzer = new Fuzzer(t, { ...world, seed: SEED, untilMs });
  const report = await fuzzer.run();
  t.same(report.findings.slice(0, 10), [], 'findings');
  t.comment(`${report.cases} cases, ${report.packets} packets, ${report.bytes} bytes`);
  t.ok(report.cases > 200, `${report.cases} cases`);
  t.ok(
    report.closedByNode > 0 && report.closedByNode < report.cases,
    `${report.closedByNode} closed by the node`,
  );
  for (const { sent, received, slowestMs } of report.bystanders) {
    t.ok(
      sent > 50 && received === sent,
      `bystander: ${received} of ${sent}, slowest ${slowestMs.toFixed(0)} ms`,
    );
  }
  for (const samples of report.memoryMb) {
    const third = samples.slice(Math.floor(samples.length / 3));
    t.comment(`memory: ${samples.join(' ')} MB`);
    t.ok(Math.max(...third) - Math.min(...third) < GROWTH_MB, 'memory does not run away');
  }
  const versionsAndTypes = new Set(
    [...report.kinds.keys()].map((kind) => kind.split('/').slice(0, 2).join('/')),
  );
  t.equal(versionsAndTypes.size, 45, 'every packet type in every version');
});

t.test('the command line of the fuzzer: help, and what it does not know', async (t) => {
  const compiled = fileURLToPath(new URL('./fuzz-main.js', import.meta.url));
  const words = existsSync(compiled) ? [compiled] : [...process.execArgv, compiled.replace(/js$/, 'ts')];
  const run = (...args: string[]) => {
    const options = { encoding: 'utf8', env: cleanEnvironment(), timeout: 60_000 } as const;
    const { status, stdout, stderr } = spawnSync(process.execPath, [...words, ...args], options);
    return { status, stdout, stderr };
  };
  const usage = /^npm run fuzz -- .*--minutes N .*--seed S .*--case N /s;
  t.match(run('--help'), { status: 0, stdout: usage, stderr: '' });
  for (const [args, complaint] of [
    [['--minuets', '1'], "Unknown option '--minuets'"],
    [['now'], "Unexpected argument 'now'"],
    [['--seed', 'x'], '--seed wants a number, not x'],
    [['--minutes', '-'], '--minutes wants a number, not -'],
  ] as const) {
    const { status, stdout, stderr } = run(...args);
    t.same([status, stdout], [2, ''], args.join(' '));
    t.ok(stderr.startsWith(complaint) && stderr.includes('npm run fuzz --'), stderr);
    t.notMatch(stderr, '    at ');
  }
});
