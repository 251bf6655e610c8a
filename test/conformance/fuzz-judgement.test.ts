// The judgement of a fuzzer's run: each bound is broken once, and its lawful neighbours are not.

import t from 'tap';
import { FUZZ_BOUNDS, judgeRun, medianOf } from './fuzz-judgement.ts';

const bounds = { growthMb: 50, slowestMs: 3000, samplesMin: 40 };
const calm = { sent: 10, received: 10, slowestMs: 20 };
/** A minute of samples. */
const samples = (of: (second: number) => number): number[] => Array.from({ length: 60 }, (_, at) => of(at));
const flat = samples(() => 100);

t.test('a run within the bounds', async (t) => {
  t.same(judgeRun({ memoryMb: [flat, flat], bystanders: [calm, calm] }, bounds), []);
  t.same(judgeRun({ memoryMb: [flat], bystanders: [calm] }), [], 'those of the program');
  t.ok(FUZZ_BOUNDS.growthMb > 0 && FUZZ_BOUNDS.slowestMs > 0);
});

t.test('memory of one node', async (t) => {
  const judge = (one: number[]) => judgeRun({ memoryMb: [flat, one], bystanders: [] }, bounds);
  t.match(
    judge(samples((at) => 100 + at * 2)),
    [/^node 1 grew from 144 to 204 MB/],
    'one that grows all the time',
  );
  t.same(judge(samples((at) => 100 + at)), [], 'growth by less');
  t.same(judge(samples((at) => (at < 15 ? 100 : 300))), [], 'warming up');
  t.same(
    judge(samples((at) => (at % 10 === 9 ? 400 : 100))),
    [],
    'before garbage is collected, now and then',
  );
  t.same(judge(samples((at) => 300 - at * 2)), [], 'it may shrink');
  t.match(judge(samples((at) => (at < 45 ? 100 : 151))), [/^node 1/], 'one step in the end');
  t.same(judge(samples((at) => 100 + at * 9).slice(0, 39)), [], 'too short a run to say');
});

t.test('the slowest message of a bystander', async (t) => {
  const judge = (slowestMs: number) =>
    judgeRun({ memoryMb: [], bystanders: [calm, { ...calm, slowestMs }] }, bounds);
  t.same(judge(3000), []);
  t.same(judge(3001), ['bystander 1 waited 3001 ms, more than 3000']);
});

t.test('medians', async (t) => {
  t.equal(medianOf([9, 1, 5, 7], 0, 1), 7);
  t.equal(medianOf([1, 2, 3, 4, 5, 6, 7, 8], 0.25, 0.5), 4);
  t.ok(Number.isNaN(medianOf([], 0, 1)));
});
