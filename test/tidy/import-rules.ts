// Who may import whom: floors, circles, vendors, packages and files that nobody needs. Type-only imports count like all
// others, because a reader has to follow them too.

import { codeIn, type Finding, importsOf, packageOf, type Rule, type SourceFile } from './source-tree.ts';

/** From the top down; a file imports only what stands on floors below it, or in its own room. */
const FLOORS: readonly (readonly string[])[] = [
  ['main', 'cli'],
  ['node', 'workers'],
  ['admin', 'drain', 'listener'],
  ['connection'],
  ['delivery'],
  ['cluster'],
  ['routing', 'session'],
  ['store'],
  ['auth', 'config'],
  ['mqtt', 'observability', 'util'],
];

/** What may be imported though it stands on the same floor. */
const BESIDE: Readonly<Record<string, readonly string[]>> = {
  main: ['cli'],
  session: ['routing'],
  mqtt: ['util'],
  observability: ['util'],
};

/** Files directly in src, and the room each belongs to. */
const ROOT_FILES: Readonly<Record<string, string>> = {
  'src/main.ts': 'main',
  'src/node.ts': 'node',
  'src/incarnation.ts': 'node',
  'src/system-figures.ts': 'node',
  'src/warm-up.ts': 'node',
};

/** Where in src each package may be imported: files, or folders with a "/" at the end. */
const VENDORS: Readonly<Record<string, readonly string[]>> = {
  'abstract-level': ['src/store/embedded/'],
  aedes: ['src/connection/aedes-shell.ts'],
  'classic-level': ['src/store/embedded/'],
  fastify: ['src/admin/'],
  ioredis: ['src/store/redis/', 'src/cluster/control-bus.ts'],
  'memory-level': ['src/store/embedded/'],
  mqemitter: ['src/cluster/control-bus.ts'],
  'mqemitter-redis': ['src/store/redis/', 'src/cluster/control-bus.ts'],
  'mqtt-packet': ['src/mqtt/codec.ts', 'src/connection/aedes-shell.ts'],
  pino: ['src/observability/logger.ts'],
  'prom-client': ['src/observability/metrics.ts', 'src/observability/worker-metrics.ts'],
  ws: ['src/listener/websocket.ts'],
  yaml: ['src/config/'],
  zod: ['src/config/'],
};

/** The room of a file of src: the folder, or for files directly in src the name in ROOT_FILES; undefined if unknown. */
function roomOf(path: string): string | undefined {
  const folder = /^src\/([^/]+)\//.exec(path)?.[1];
  return folder ?? ROOT_FILES[path];
}

const floorOf = (room: string | undefined) => FLOORS.findIndex((rooms) => rooms.includes(room ?? ''));

export const floors: Rule = (files) =>
  codeIn(files, 'src').flatMap((file) => {
    const from = roomOf(file.path);
    const floor = floorOf(from);
    if (from === undefined || floor < 0) {
      return [{ path: file.path, line: 1, why: 'stands on no floor (FLOORS in test/tidy/import-rules.ts)' }];
    }
    return importsOf(file).flatMap(({ target, line }): Finding[] => {
      if (target === undefined) return [];
      const to = roomOf(target);
      if (to === from || floorOf(to) > floor || (to !== undefined && BESIDE[from]?.includes(to))) return [];
      const relation = floorOf(to) === floor ? 'which is on the same floor' : 'which does not stand below';
      return [{ path: file.path, line, why: `${from} imports ${target}, ${relation}` }];
    });
  });

/** Circles of a graph, each once, as the list of its nodes from the first one in the order of the alphabet. */
function circles(graph: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const rings = new Map<string, string[]>();
  const done = new Set<string>();
  const visit = (name: string, way: string[]) => {
    const start = way.indexOf(name);
    if (start >= 0) {
      const ring = way.slice(start);
      const first = ring.indexOf([...ring].sort()[0] as string);
      const turned = [...ring.slice(first), ...ring.slice(0, first)];
      rings.set(turned.join(' > '), turned);
      return;
    }
    if (done.has(name)) return;
    for (const next of graph.get(name) ?? []) visit(next, [...way, name]);
    done.add(name);
  };
  for (const name of [...graph.keys()].sort()) visit(name, []);
  return [...rings.values()];
}

function circlesOf(files: readonly SourceFile[], nameOf: (path: string) => string | undefined): Finding[] {
  const graph = new Map<string, Set<string>>();
  const places = new Map<string, { path: string; line: number }>();
  for (const file of files) {
    const from = nameOf(file.path);
    if (from === undefined) continue;
    for (const { target, line } of importsOf(file)) {
      const to = target === undefined ? undefined : nameOf(target);
      if (to === undefined || (to === from && target !== file.path && nameOf(file.path) !== file.path))
        continue;
      graph.set(from, (graph.get(from) ?? new Set()).add(to));
      if (!places.has(`${from} > ${to}`)) places.set(`${from} > ${to}`, { path: file.path, line });
    }
  }
  return circles(graph).flatMap((ring) => {
    const place = places.get(`${ring[0]} > ${ring[1] ?? ring[0]}`);
    return place ? [{ ...place, why: `a circle: ${[...ring, ring[0]].join(' > ')}` }] : [];
  });
}

const ALL_CODE = ['src', 'test', 'bench', 'scripts'];

export const fileCircles: Rule = (files) => circlesOf(codeIn(files, ...ALL_CODE), (path) => path);

export const folderCircles: Rule = (files) => circlesOf(codeIn(files, 'src'), roomOf);

export const vendors: Rule = (files) =>
  codeIn(files, 'src').flatMap((file) =>
    importsOf(file).flatMap((one): Finding[] => {
      const name = packageOf(one);
      if (name === undefined) return [];
      const homes = VENDORS[name];
      if (!homes) {
        const why = `${name} has no home (VENDORS in test/tidy/import-rules.ts)`;
        return [{ path: file.path, line: one.line, why }];
      }
      if (homes.some((home) => (home.endsWith('/') ? file.path.startsWith(home) : file.path === home)))
        return [];
      return [{ path: file.path, line: one.line, why: `${name} is imported only in ${homes.join(' and ')}` }];
    }),
  );

interface Manifest {
  scripts?: Record<string, string>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

const EXACT_VERSION = /^\d+\.\d+\.\d+(-[\w.]+)?$/;

/** Whether a development package that nobody imports is used as types or as a program. */
function isTool(
  name: string,
  imported: ReadonlySet<string>,
  manifest: Manifest,
  scripts: SourceFile[],
): boolean {
  const types = /^@types\/(.+)$/.exec(name)?.[1];
  if (types) return types === 'node' || imported.has(types);
  const program = name.split('/').at(-1) as string;
  const commands = Object.values(manifest.scripts ?? {}).flatMap((command) => command.split(' '));
  return commands.includes(program) || scripts.some(({ text }) => text.includes(`'${program}'`));
}

export const packages: Rule = (files) => {
  const own = files.find(({ path }) => path === 'package.json');
  if (!own) return [];
  const manifest = JSON.parse(own.text) as Manifest;
  const { dependencies = {}, devDependencies = {} } = manifest;
  const findings: Finding[] = [];
  const imported = { src: new Set<string>(), all: new Set<string>() };
  for (const file of codeIn(files, ...ALL_CODE)) {
    const isSource = file.path.startsWith('src/');
    for (const one of importsOf(file)) {
      const name = packageOf(one);
      if (name === undefined) continue;
      imported.all.add(name);
      if (isSource) imported.src.add(name);
      if (name in dependencies || (!isSource && name in devDependencies)) continue;
      const why = `${name} is not among the ${isSource ? 'dependencies' : 'packages'} of package.json`;
      findings.push({ path: file.path, line: one.line, why });
    }
  }
  const lines = own.text.split('\n');
  const complain = (name: string, why: string) => {
    const line = lines.findIndex((text) => text.includes(`"${name}":`)) + 1;
    findings.push({ path: own.path, line, why: `${name} ${why}` });
  };
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
    if (!EXACT_VERSION.test(version)) complain(name, `has no exact version: ${version}`);
  }
  const scripts = codeIn(files, 'scripts');
  for (const name of Object.keys(dependencies)) {
    if (!imported.src.has(name)) complain(name, 'is a dependency that src does not import');
  }
  for (const name of Object.keys(devDependencies)) {
    if (!imported.all.has(name) && !isTool(name, imported.all, manifest, scripts))
      complain(name, 'is not used');
  }
  return findings;
};

/** Programs for people among the tests. */
const PROGRAMS: readonly string[] = ['test/fault/torture.ts', 'test/conformance/fuzz-main.ts'];

/** Sources and helpers that nothing reaches from an entry: the process, a test, the benchmark, a script. */
export const unusedFiles: Rule = (files) => {
  const code = new Map(codeIn(files, ...ALL_CODE).map((file) => [file.path, file]));
  const reached = new Set<string>();
  const reach = (path: string) => {
    const file = code.get(path);
    if (!file || reached.has(path)) return;
    reached.add(path);
    for (const { target } of importsOf(file)) if (target !== undefined) reach(target);
    // The benchmark starts programs of its own by name.
    for (const [, name] of file.text.matchAll(/\bsiblingProgram\('([^']+)'\)/g)) reach(`bench/${name}.ts`);
    // A test starts a program beside it by name.
    const folder = path.slice(0, path.lastIndexOf('/'));
    for (const [, name] of file.text.matchAll(/`([a-z-]+)\$\{extname\(import\.meta\.filename\)\}`/g)) {
      reach(`${folder}/${name}.ts`);
    }
  };
  const roots = [...code.keys()].filter(
    (path) => path === 'src/main.ts' || path === 'bench/main.ts' || path.startsWith('scripts/'),
  );
  roots.forEach(reach);
  const unused = (path: string, from: string) => ({
    path,
    line: 1,
    why: `nothing imports it, from ${from} on`,
  });
  const dead = [...code.keys()].filter((path) => path.startsWith('src/') && !reached.has(path));
  for (const path of code.keys()) if (path.endsWith('.test.ts') || PROGRAMS.includes(path)) reach(path);
  return [
    ...dead.map((path) => unused(path, 'src/main.ts')),
    ...[...code.keys()]
      .filter((path) => !path.startsWith('src/') && !reached.has(path))
      .map((path) => unused(path, 'a test, the torture or bench/main.ts')),
  ];
};
