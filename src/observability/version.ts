// The version of swarmq, as package.json has it: for --version, the metrics and $SYS/broker/version.

import { existsSync, readFileSync } from 'node:fs';

/** "0.1.0". The package file stands one folder above src, or two above when compiled. */
export const VERSION: string = (() => {
  const places = ['../../package.json', '../../../package.json'].map(
    (path) => new URL(path, import.meta.url),
  );
  const file = places.find((place) => existsSync(place));
  return file ? (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version : 'unknown';
})();
