// The rules of the house as a test (ARCHITECTURE.md has their reasons): who imports whom, what is forbidden where, how
// long, how explained, nothing left over. Each rule is first seen to fail on a small bad example, at the line where it
// should, and to let a good one pass; then it is asked about the whole tree. No rule has a list of exceptions by file.

import t from 'tap';
import { projectFile } from './helpers/command-line.ts';
import * as code from './tidy/code-rules.ts';
import * as whole from './tidy/document-rules.ts';
import * as imports from './tidy/import-rules.ts';
import * as lua from './tidy/lua-rules.ts';
import { type Rule, readTree, type SourceFile } from './tidy/source-tree.ts';

/** Texts by path. */
type Texts = Record<string, string>;

interface Example {
  /** Files that break the rule, with the lines ("path:line") where it must say so, and no others. */
  bad: [Texts, ...string[]][];
  /** Files that do not break it. */
  good?: Texts[];
}

const tree = readTree(projectFile('.'));

const filesOf = (texts: Texts): SourceFile[] => Object.entries(texts).map(([path, text]) => ({ path, text }));
const placesOf = (rule: Rule, texts: Texts) =>
  rule(filesOf(texts)).map(({ path, line }) => `${path}:${line}`);

/** Proves the rule on its examples, then asks it about the tree. */
function check(name: string, rule: Rule, { bad, good = [] }: Example) {
  t.test(name, async (t) => {
    for (const [texts, ...places] of bad) {
      t.strictSame(placesOf(rule, texts).sort(), places.sort(), `seen to fail at ${places}`);
    }
    for (const texts of good) t.strictSame(placesOf(rule, texts), [], `lets ${Object.keys(texts)} pass`);
    const findings = rule(tree);
    if (findings.length === 0) t.pass('the tree');
    for (const { path, line, why } of findings) t.fail(`${path}:${line} ${why}`);
  });
}

t.test('the tree is read', async (t) => {
  const paths = tree.map(({ path }) => path);
  t.ok(
    paths.includes('src/main.ts') && paths.includes('test/tidy.test.ts') && paths.includes('package.json'),
  );
  t.notOk(paths.some((path) => /^(node_modules|dist)\//.test(path)));
});

check('imports go down the floors', imports.floors, {
  bad: [
    [{ 'src/routing/a.ts': "\nimport type { X } from '../session/b.ts';\n" }, 'src/routing/a.ts:2'],
    [{ 'src/mqtt/a.ts': "export * from '../delivery/b.ts';\n" }, 'src/mqtt/a.ts:1'],
    [{ 'src/store/redis/a.ts': "const x = await import('../../cluster/b.ts');\n" }, 'src/store/redis/a.ts:1'],
    [{ 'src/auth/a.ts': "type X = import('../config/b.ts').X;\n" }, 'src/auth/a.ts:1'],
    [{ 'src/cli/a.ts': "import '../main.ts';\n" }, 'src/cli/a.ts:1'],
    [
      { 'src/cluster/a.ts': "import '../incarnation.ts';\nimport '../unknown/a.ts';\n" },
      'src/cluster/a.ts:1',
      'src/cluster/a.ts:2',
    ],
    [{ 'src/misc/a.ts': '', 'src/b.ts': '' }, 'src/misc/a.ts:1', 'src/b.ts:1'],
  ],
  good: [
    { 'src/session/a.ts': "import '../routing/b.ts';\nimport './c.ts';\nimport 'node:net';\nimport 'ws';\n" },
    { 'src/delivery/a.ts': "import '../cluster/b.ts';\nimport '../routing/b.ts';\nimport '../util/b.ts';\n" },
    { 'src/main.ts': "import './cli/run.ts';\n", 'src/node.ts': "import './incarnation.ts';\n" },
  ],
});

check('no circle of files', imports.fileCircles, {
  bad: [
    [
      {
        'src/mqtt/a.ts': "\nimport './b.ts';\n",
        'src/mqtt/b.ts': "import './c.ts';\n",
        'src/mqtt/c.ts': "import type { A } from './a.ts';\n",
      },
      'src/mqtt/a.ts:2',
    ],
    [{ 'src/mqtt/a.ts': "import './a.ts';\n" }, 'src/mqtt/a.ts:1'],
  ],
  good: [{ 'src/mqtt/a.ts': "import './b.ts';\nimport './c.ts';\n", 'src/mqtt/b.ts': "import './c.ts';\n" }],
});

check('no circle of folders', imports.folderCircles, {
  bad: [
    [
      { 'src/mqtt/a.ts': "import '../util/b.ts';\n", 'src/util/c.ts': "\nimport '../mqtt/d.ts';\n" },
      'src/mqtt/a.ts:1',
    ],
  ],
  good: [
    { 'src/mqtt/a.ts': "import '../util/b.ts';\nimport './d.ts';\n", 'src/util/c.ts': "import './b.ts';\n" },
  ],
});

check('each vendor has one home', imports.vendors, {
  bad: [
    [{ 'src/node.ts': "import { Redis } from 'ioredis';\n" }, 'src/node.ts:1'],
    [{ 'src/connection/connect.ts': "\nimport type Aedes from 'aedes';\n" }, 'src/connection/connect.ts:2'],
    [{ 'src/util/a.ts': "import x from 'left-pad/sub';\n" }, 'src/util/a.ts:1'],
  ],
  good: [
    {
      'src/store/redis/a.ts': "import { Redis } from 'ioredis';\n",
      'src/admin/b.ts': "import f from 'fastify';\n",
    },
    {
      'src/connection/aedes-shell.ts': "import 'aedes';\nimport 'mqtt-packet';\n",
      'test/a.ts': "import 'ws';\n",
    },
  ],
});

check('packages are declared, exact and used', imports.packages, {
  bad: [
    [
      {
        'package.json':
          '{ "dependencies": {\n"ws": "^8.0.0",\n"zod": "4.0.0" },\n"devDependencies": {\n"tap": "21.0.0" } }',
        'src/a.ts': "import 'ws';\nimport 'tap';\n",
        'test/b.ts': "import '@scope/name/sub';\n",
      },
      'package.json:2',
      'package.json:3',
      'src/a.ts:2',
      'test/b.ts:1',
    ],
    [
      { 'package.json': '{ "devDependencies": {\n"mqtt": "5.0.0",\n"@types/ws": "8.0.0" } }' },
      'package.json:2',
      'package.json:3',
    ],
  ],
  good: [
    {
      'package.json':
        '{ "scripts": { "lint": "biome check ." }, "dependencies": { "ws": "8.0.0-beta.1" }, "devDependencies": { "@scope/biome": "2.0.0", "@types/ws": "8.0.0", "@types/node": "20.0.0", "tap": "21.0.0" } }',
      'src/a.ts': "import 'ws';\nimport 'node:net';\n",
      'test/b.ts': "import 'ws';\nconst name: string = 'tap';\nawait import(name);\n",
    },
  ],
});

check('no file that nothing needs', imports.unusedFiles, {
  bad: [
    [
      {
        'src/main.ts': "import './a.ts';\n",
        'src/a.ts': '',
        'src/b.ts': "import './a.ts';\n",
        'test/unit/b.test.ts': "import '../../src/b.ts';\n",
        'test/helpers/c.ts': '',
      },
      'src/b.ts:1',
      'test/helpers/c.ts:1',
    ],
  ],
  good: [
    {
      'src/main.ts': "await import('./a.ts');\n",
      'src/a.ts': "new Worker(new URL('./worker.ts', import.meta.url));\n",
      'src/worker.ts': '',
      'src/pages.ts': '',
      'bench/main.ts': "spawn(siblingProgram('peers/echo'));\n",
      'bench/peers/echo.ts': '',
      'scripts/docs.mjs': "await import(new URL('../dist/src/pages.js', import.meta.url));\n",
    },
  ],
});

check('time, chance and the process are touched only at their homes', code.forbiddenGlobals, {
  bad: [
    [
      { 'src/mqtt/a.ts': 'const at = Date.now();\nconst b = new Date();\nconst c = Date();\n' },
      'src/mqtt/a.ts:1',
      'src/mqtt/a.ts:2',
      'src/mqtt/a.ts:3',
    ],
    [
      { 'src/mqtt/a.ts': 'setTimeout(run, 1);\nconst later = globalThis.setInterval;\n' },
      'src/mqtt/a.ts:1',
      'src/mqtt/a.ts:2',
    ],
    [
      { 'src/mqtt/a.ts': 'options = { later: setImmediate };\nperformance.now();\nMath.random();\n' },
      'src/mqtt/a.ts:1',
      'src/mqtt/a.ts:2',
      'src/mqtt/a.ts:3',
    ],
    [{ 'src/mqtt/a.ts': "import { randomUUID } from 'node:crypto';\n" }, 'src/mqtt/a.ts:1'],
    [
      { 'src/mqtt/a.ts': 'crypto.randomUUID();\nprocess.hrtime.bigint();\n' },
      'src/mqtt/a.ts:1',
      'src/mqtt/a.ts:2',
    ],
    [
      { 'src/mqtt/a.ts': "import { setTimeout as wait } from 'node:timers/promises';\n" },
      'src/mqtt/a.ts:1',
      'src/mqtt/a.ts:1',
    ],
    [
      { 'src/util/clock.ts': "const { env } = process;\nprocess['exit'](1);\n" },
      'src/util/clock.ts:1',
      'src/util/clock.ts:2',
    ],
    [
      { 'src/cli/a.ts': "process.on('SIGTERM', end);\nimport { exit } from 'node:process';\n" },
      'src/cli/a.ts:1',
      'src/cli/a.ts:2',
    ],
  ],
  good: [
    { 'src/util/clock.ts': 'Date.now();\nsetTimeout(run, 1);\n', 'src/util/random.ts': 'Math.random();\n' },
    {
      'src/config/env.ts': 'process.env;\n',
      'src/main.ts': "process.exit(1);\nprocess.on('SIGINT', run);\n",
    },
    {
      'src/mqtt/a.ts':
        "// Date.now()\nsocket.setTimeout(5);\nlet h: ReturnType<typeof setTimeout>;\nnew Date(5);\nlog('new Date()');\n",
    },
    { 'test/a.ts': 'Date.now();\nprocess.env;\n' },
  ],
});

check('files have at most 500 lines', code.fileLength, {
  bad: [
    [
      { 'src/a.ts': '\n'.repeat(501), 'src/store/a.lua': '\n'.repeat(600) },
      'src/a.ts:501',
      'src/store/a.lua:501',
    ],
  ],
  good: [{ 'src/a.ts': '\n'.repeat(500), 'docs/a.md': '\n'.repeat(900) }],
});

const body = (lines: number) => '\n'.repeat(lines - 1);

check('functions have at most 70 lines', code.functionLength, {
  bad: [
    [{ 'src/a.ts': `/** A. */\nfunction a() {${body(71)}}\n` }, 'src/a.ts:2'],
    [{ 'src/a.ts': `class A {\n  b() {${body(71)}}\n}\n` }, 'src/a.ts:2'],
    [{ 'src/a.ts': `const a = () => {${body(71)}};\n` }, 'src/a.ts:1'],
    [{ 'test/a.ts': `function cases() {\n  t.test('a', async (t) => {${body(71)}});\n}\n` }, 'test/a.ts:2'],
  ],
  good: [
    { 'src/a.ts': `/** A.${body(80)} */\nfunction a() {${body(70)}}\n` },
    {
      'test/a.ts': `function cases() {\n  t.test('a', async (t) => {${body(60)}});\n  t.test('b', run);${body(60)}}\n`,
    },
  ],
});

check('each file says first what it owns', code.headers, {
  bad: [
    [{ 'src/a.ts': "import 'b';\n// Late. Too late.\n" }, 'src/a.ts:1'],
    [
      { 'src/a.ts': '// One sentence only.\n', 'src/b.lua': '-- One.\nreturn 0\n' },
      'src/a.ts:1',
      'src/b.lua:1',
    ],
    [{ 'test/a.test.ts': 'run();\n' }, 'test/a.test.ts:1'],
  ],
  good: [
    { 'src/a.ts': '// One. Two.\n', 'src/b.ts': '/* One\n * more. */\n', 'src/c.lua': '-- One\n-- more.\n' },
    { 'src/main.ts': '#!/usr/bin/env node\n// One sentence. Another one.\n', 'test/a.test.ts': '// One.\n' },
  ],
});

check('what is exported and throws says when', code.throwingWithoutDocstring, {
  bad: [
    [{ 'src/a.ts': "export function a() {\n  if (b) throw new SwarmqError('X', 'y');\n}\n" }, 'src/a.ts:1'],
    [{ 'src/a.ts': 'export class A {\n  b() {\n    throw bad();\n  }\n}\n' }, 'src/a.ts:2'],
  ],
  good: [
    {
      'src/a.ts':
        '/** Throws. */\nexport function a() {\n  throw new E();\n}\nfunction b() {\n  throw new E();\n}\n',
    },
    { 'src/a.ts': 'export class A {\n  #b() {\n    throw bad();\n  }\n  c() {\n    throw error;\n  }\n}\n' },
  ],
});

const marker = (word: string) => `// ${word}: later\n`;

check('nothing is left for later', code.leftovers, {
  bad: [
    [
      { 'src/a.ts': `\n${marker('TO' + 'DO')}`, 'src/b.lua': marker('FIX' + 'ME') },
      'src/a.ts:2',
      'src/b.lua:1',
    ],
    [
      { 'deploy/a.yaml': marker('XX' + 'X'), 'README.md': marker('HA' + 'CK') },
      'deploy/a.yaml:1',
      'README.md:1',
    ],
  ],
  good: [{ 'src/a.ts': marker('HACKED'), 'src/b.ts': "mkdtemp('a-XXXXXX');\n" }],
});

check('no test is left out', code.narrowedTests, {
  bad: [
    [{ 'test/a.test.ts': "t.test('a', run);\nt.only('b', run);\n" }, 'test/a.test.ts:2'],
    [{ 'test/a.test.ts': "t\n  .skip('b', run);\n" }, 'test/a.test.ts:2'],
  ],
  good: [{ 'test/a.test.ts': "// t.only(\nconst text = '.skip(';\nskip();\n" }],
});

check('names say something', code.names, {
  bad: [
    [
      { 'src/a.ts': '\nexport class QueueManager {}\nfunction pathHelper() {}\n' },
      'src/a.ts:2',
      'src/a.ts:3',
    ],
    [{ 'src/index.ts': '', 'src/someThing.ts': '' }, 'src/index.ts:1', 'src/someThing.ts:1'],
  ],
  good: [{ 'src/topic-trie.ts': 'export class TopicTrie {}\n', 'test/a-b.test.ts': '', 'scripts/a.mjs': '' }],
});

const LUA = 'src/store/redis/scripts';
const END = '-- Reply: 0\n-- Complexity: O(1).\n';

check('headers of Lua scripts name what the scripts use', lua.luaHeaders, {
  bad: [
    [{ [`${LUA}/a.lua`]: `-- A.\n-- KEYS[1] a\n${END}return KEYS[1] .. KEYS[2]\n` }, `${LUA}/a.lua:5`],
    [{ [`${LUA}/a.lua`]: `-- A.\n-- KEYS[1] a\n-- ARGV[1] b\n${END}return KEYS[1]\n` }, `${LUA}/a.lua:1`],
    [{ [`${LUA}/a.lua`]: `-- ARGV[1] a\n-- ARGV[3] b\n${END}return ARGV[1] .. ARGV[3]\n` }, `${LUA}/a.lua:1`],
    [
      { [`${LUA}/a.lua`]: `-- ARGV[1] a\n${END}local n = ARGV[1]\nfor i = 2, #ARGV do b(ARGV[i]) end\n` },
      `${LUA}/a.lua:5`,
    ],
    [{ [`${LUA}/a.lua`]: `-- ARGV[1...] a\n${END}return ARGV[1]\n` }, `${LUA}/a.lua:1`],
    [
      { [`${LUA}/a.lua`]: `-- ARGV[1] a\n${END}local one, argv = 1, ARGV\nreturn argv[1] .. argv[2]\n` },
      `${LUA}/a.lua:5`,
    ],
    [{ [`${LUA}/a.lua`]: '-- A.\nreturn 0\n' }, `${LUA}/a.lua:1`, `${LUA}/a.lua:1`],
    [{ [`${LUA}/a.lua`]: `-- ARGV[1] a, not used\n${END}return ARGV[1]\n` }, `${LUA}/a.lua:1`],
    [
      {
        [`${LUA}/a.lua`]: `-- KEYS: both (includes/k.lua)\n${END}--- @include "k"\nreturn KEYS[3]\n`,
        [`${LUA}/includes/k.lua`]: 'local A, B = KEYS[1], KEYS[2]\n',
      },
      `${LUA}/a.lua:5`,
    ],
  ],
  good: [
    {
      [`${LUA}/a.lua`]: `-- KEYS: both (includes/k.lua)\n-- ARGV[1] a\n-- ARGV[2] b, not used\n-- ARGV[3...] c\n${END}--- @include "k"\nreturn ARGV[1] .. #ARGV\n`,
      [`${LUA}/includes/k.lua`]: 'local A, B = KEYS[1], KEYS[2]\n',
    },
  ],
});

check('Lua scripts build no keys', lua.luaBuiltKeys, {
  bad: [
    [{ [`${LUA}/a.lua`]: "redis.call('GET', KEYS[1] .. ':lock')\n" }, `${LUA}/a.lua:1`],
    [{ [`${LUA}/includes/a.lua`]: "local x\nredis.pcall('GET', 'lock')\n" }, `${LUA}/includes/a.lua:2`],
  ],
  good: [{ [`${LUA}/a.lua`]: "redis.call('SET', KEYS[1], 'a' .. b)\nredis.call('TIME')\n" }],
});

check('definitions of Lua scripts have the names of their headers', lua.luaDefinitions, {
  bad: [
    [
      {
        'src/store/redis/a.ts': "\ndefineScript('a', ['one'], []);\ndefineScript('b', [], []);\n",
        [`${LUA}/a.lua`]: '-- KEYS[1] one\n-- ARGV[1] two\n',
      },
      'src/store/redis/a.ts:2',
      'src/store/redis/a.ts:3',
    ],
  ],
  good: [
    {
      'src/store/redis/a.ts': "const K = ['x', 'y'] as const;\ndefineScript('a', [...K, 'z'], ['one']);\n",
      [`${LUA}/a.lua`]: '-- KEYS[1] x\n-- KEYS[2] y\n-- KEYS[3] z\n-- ARGV[1] one\n-- ARGV[2...] more\n',
      'src/store/redis/b.ts': "defineScript('b', ['x', 'y'], []);\n",
      [`${LUA}/b.lua`]: '-- KEYS[1...] for each message: x, y\n',
    },
  ],
});

check('every Lua file is wanted', lua.luaUnused, {
  bad: [
    [{ [`${LUA}/a.lua`]: '', [`${LUA}/includes/b.lua`]: '' }, `${LUA}/a.lua:1`, `${LUA}/includes/b.lua:1`],
    [
      {
        'src/store/redis/a.ts': "defineScript('a', [], []);\n",
        [`${LUA}/a.lua`]: '-- A.\n--- @include "c"\n',
      },
      `${LUA}/a.lua:2`,
    ],
  ],
  good: [
    {
      'src/store/redis/a.ts': "defineScript('a', [], []);\n",
      [`${LUA}/a.lua`]: '--- @include "c"\n',
      [`${LUA}/includes/c.lua`]: '--- @include "d"\n',
      [`${LUA}/includes/d.lua`]: '',
    },
  ],
});

check('no trace of one machine', whole.machineTraces, {
  bad: [
    [{ 'docs/a.md': `\nsee ${['', 'home', 'me', 'x'].join('/')}\n` }, 'docs/a.md:2'],
    [
      { 'src/a.ts': `'${['', 'tmp', 'x'].join('/')}';\n`, 'b.yaml': 'C:\\' + 'Users\\me\n' },
      'src/a.ts:1',
      'b.yaml:1',
    ],
    [{ '.npmrc': `registry${' = '}there\n` }, '.npmrc:1'],
    [{ 'package-lock.json': `"resolved": ${'"'}https://a.b/c.tgz"\n` }, 'package-lock.json:1'],
    [{ 'deploy/a': `FROM https:/${'/'}registry.example/x\n` }, 'deploy/a:1'],
  ],
  good: [
    {
      'a.md':
        'a topic home/kitchen, ./tmp/x, https://example.com/home/x, /etc/swarmq/swarmq.yaml, the registry\n',
    },
  ],
});

const ERRORS_FILE = "export const ERRORS = {\n  SWARMQ_ERR_A: 'a',\n  SWARMQ_ERR_B: 'b',\n};\n";

check('every error code is thrown, and in the catalogue', whole.errorCodes, {
  bad: [
    [
      {
        'src/util/errors.ts': ERRORS_FILE,
        'src/a.ts': "new SwarmqError('SWARMQ_ERR_A');\n// SWARMQ_ERR_C, SWARMQ_ERR_B\n",
      },
      'src/util/errors.ts:3',
      'src/a.ts:2',
    ],
    [{}, 'src/util/errors.ts:1'],
  ],
  good: [
    {
      'src/util/errors.ts': ERRORS_FILE,
      'src/a.ts': "f('SWARMQ_ERR_A', 'SWARMQ_ERR_B');\n// SWARMQ_ERR_*, SWARMQ_ERR_C_*\n",
    },
  ],
});

check('the documents that one looks for first are there', whole.documents, {
  bad: [[{ 'README.md': 'x', LICENSE: 'x', 'CHANGELOG.md': ' \n' }, 'ARCHITECTURE.md:1', 'CHANGELOG.md:1']],
});

t.test('docstrings of what src exports', async (t) => {
  const undocumented = code.undocumented(
    filesOf({ 'src/a.ts': '\nexport interface A {}\n/** B. */\nexport class B {}\n' }),
  );
  t.strictSame(
    undocumented.map(({ line }) => line),
    [2],
    'counts what has none',
  );
  t.comment(`${code.undocumented(tree).length} exported declarations have no docstring`);
});
