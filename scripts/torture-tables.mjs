// Fills the tables of docs/guarantees.md between their marks from the lines that `npm run torture -- --summary FILE`
// wrote: node scripts/torture-tables.mjs FILE... Lines of one set-up are added up. The text around the marks stays.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './setup.mjs';

const RUNS_HEAD =
  '| topology | durability | minutes | rounds | acknowledged | delivered | node kills | Redis and disk faults | breaches |';
const STOCK_HEAD = '| faults | | acknowledged | lost | twice at QoS 2 | out of order | other breaches |';

const lines = process.argv.slice(2).flatMap((file) => readFileSync(file, 'utf8').trim().split('\n'));
const runs = lines.map((line) => JSON.parse(line));
const number = (value) => value.toLocaleString('en-US');
const sum = (list, of) => list.reduce((total, one) => total + of(one), 0);
const breachesOf = (run) => sum(Object.values(run.breaches), (count) => count);

/** Runs by the text that `key` gives them, in the order of their first appearance. */
function groups(list, key) {
  const found = new Map();
  for (const one of list) found.set(key(one), [...(found.get(key(one)) ?? []), one]);
  return [...found];
}

function runsTable(list) {
  const row = (name, some) => {
    const faults = sum(some, (run) => run.redisFaults + run.diskFaults);
    const cells = [sum(some, (run) => run.minutes).toFixed(0), sum(some, (run) => run.rounds)];
    cells.push(...['acked', 'delivered', 'nodeKills'].map((field) => number(sum(some, (run) => run[field]))));
    return `| ${name} | ${cells.join(' | ')} | ${number(faults)} | ${sum(some, breachesOf)} |`;
  };
  const rows = groups(list, (run) => `${run.topology} | ${run.durability}`).map(([name, some]) =>
    row(name, some),
  );
  return [RUNS_HEAD, '|---|---|--:|--:|--:|--:|--:|--:|--:|', ...rows, row('all | ', list)].join('\n');
}

function lossTable(list) {
  const rows = groups(list, (run) => `${run.chosen} | ${run.durability}`).map(([name, some]) => {
    const times = sum(some, (run) => sum(Object.values(run.faults), (count) => count));
    return `| ${name} | ${times} | ${number(sum(some, (run) => run.acked))} | ${number(sum(some, (run) => run.lostByRedis))} |`;
  });
  return [
    '| fault | durability | times | acknowledged | of these lost |',
    '|---|---|--:|--:|--:|',
    ...rows,
  ].join('\n');
}

function stockTable(list) {
  const rows = groups(list, (run) => `${run.chosen ?? 'all'} | ${run.program}`).map(([name, some]) => {
    const of = (rule) => sum(some, (run) => run.breaches[rule] ?? 0);
    const [lost, twice, order] = [of('delivered'), of('once'), of('ordered')];
    const other = sum(some, breachesOf) - lost - twice - order;
    // Whether something is lost is judged only when the clients have come to rest.
    const told = lost === 0 && of('trouble') > 0 ? 'not judged' : lost;
    const cells = [sum(some, (run) => run.acked), told, twice, order, other].map(number);
    return `| ${name} | ${cells.join(' | ')} |`;
  });
  return [STOCK_HEAD, '|---|---|--:|--:|--:|--:|--:|', ...rows].join('\n');
}

const isMeasured = (run) => /power-loss|redis-kill/.test(run.chosen ?? '');
const isCompared = (run) => runs.some((other) => other.program === 'stock' && other.chosen === run.chosen);
const tables = {
  runs: runsTable(runs.filter((run) => run.program === 'swarmq' && run.chosen === null)),
  loss: lossTable(runs.filter((run) => run.program === 'swarmq' && isMeasured(run))),
  stock: stockTable(runs.filter(isCompared)),
};
const path = join(root, 'docs', 'guarantees.md');
let text = readFileSync(path, 'utf8');
for (const [name, table] of Object.entries(tables)) {
  if (table.split('\n').length < 3) continue;
  const marks = new RegExp(`(<!-- ${name} -->\\n)[\\s\\S]*?(<!-- end of ${name} -->)`);
  text = text.replace(marks, (_all, begin, end) => `${begin}\n${table}\n\n${end}`);
}
writeFileSync(path, text);
