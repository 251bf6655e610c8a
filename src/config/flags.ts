// The flags of the command line that set an option, with the option each one sets. They are the last layer of the
// configuration: flags go before the environment, which goes before the file.

/** One flag: `--name VALUE`. */
export interface ConfigFlag {
  readonly name: string;
  /** What stands for the value in the help. */
  readonly value: string;
  readonly path: readonly string[];
  readonly doc: string;
}

export const CONFIG_FLAGS: readonly ConfigFlag[] = [
  { name: 'node', value: 'NAME', path: ['node', 'name'], doc: 'name of this node' },
  { name: 'port', value: 'N', path: ['listeners', 'tcp', 'port'], doc: 'MQTT port (0 picks one, off: none)' },
  {
    name: 'ws-port',
    value: 'N',
    path: ['listeners', 'ws', 'port'],
    doc: 'WebSocket port (0 or off as well)',
  },
  { name: 'admin-port', value: 'N', path: ['admin', 'port'], doc: 'admin HTTP port (0 or off as well)' },
  { name: 'redis', value: 'URL', path: ['redis', 'url'], doc: 'Redis to use instead of the embedded store' },
  {
    name: 'workers',
    value: 'N',
    path: ['workers'],
    doc: 'node processes behind the ports, or auto for one per core (needs Redis)',
  },
  { name: 'data', value: 'DIR', path: ['data', 'dir'], doc: 'directory of the embedded store' },
  {
    name: 'log-level',
    value: 'L',
    path: ['log', 'level'],
    doc: 'trace, debug, info, warn, error or silent',
  },
];
