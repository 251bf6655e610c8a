// RabbitMQ with its MQTT plugin: one node with its data, log, cookie and port mapper in a folder of its own, apart from any
// that runs as a service. Persistent sessions get durable queues.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { freePort, type Owner, temporaryFolder } from '../../test/helpers/owner.ts';
import { type Certificate, obstacleOf, type Peer, programPath, startServer } from './peer.ts';

const LACKS = {
  qos2: "RabbitMQ's plugin grants QoS 1 where QoS 2 is asked for",
  mqtt5: 'this RabbitMQ has no MQTT 5',
  groups: 'this RabbitMQ has no shared subscriptions',
  retained: 'this RabbitMQ gives no retained messages to filters with wildcards',
};

/** Debian's program in PATH changes to a user of its own; the one behind it does not. */
const DEBIAN_PROGRAM = '/usr/lib/rabbitmq/bin/rabbitmq-server';
const START_PATIENCE_MS = 90_000;

function configuration(port: number, certificate: Certificate | undefined): string {
  const listener = certificate
    ? [
        'mqtt.listeners.tcp = none',
        `mqtt.listeners.ssl.1 = 127.0.0.1:${port}`,
        `ssl_options.cacertfile = ${certificate.certFile}`,
        `ssl_options.certfile = ${certificate.certFile}`,
        `ssl_options.keyfile = ${certificate.keyFile}`,
      ]
    : [`mqtt.listeners.tcp.1 = 127.0.0.1:${port}`];
  return [
    'listeners.tcp = none',
    ...listener,
    'mqtt.allow_anonymous = true',
    'mqtt.prefetch = 1000',
    'mqtt.tcp_listen_options.nodelay = true',
    'mqtt.tcp_listen_options.backlog = 1024',
    'log.file.level = info',
    'log.console = false',
    '',
  ].join('\n');
}

/** The mapper of Erlang's node names, on a port of its own and as a child of ours: else the node would leave one behind. */
async function startPortMapper(owner: Owner): Promise<number> {
  const port = await freePort();
  const program = programPath('epmd') ?? 'epmd';
  const options = { env: { ...process.env, ERL_EPMD_ADDRESS: '127.0.0.1' }, stdio: 'ignore' as const };
  await startServer(owner, [program, '-port', String(port)], port, options);
  return port;
}

export const rabbitmq: Peer = {
  name: 'rabbitmq',
  obstacle: (workload) => obstacleOf(workload, LACKS, 'rabbitmq-server'),
  async start(owner, { certificate, launcher }) {
    const port = await freePort();
    const folder = temporaryFolder(owner, 'rabbitmq');
    const place = (name: string) => join(folder, name);
    for (const name of ['data', 'log']) mkdirSync(place(name));
    writeFileSync(place('rabbitmq.conf'), configuration(port, certificate));
    writeFileSync(place('plugins'), '[rabbitmq_mqtt].\n');
    writeFileSync(place('environment'), '');
    const env = {
      ...process.env,
      HOME: folder,
      // Node names must differ between folders.
      RABBITMQ_NODENAME: `${basename(folder)}@localhost`,
      RABBITMQ_MNESIA_BASE: place('data'),
      RABBITMQ_LOG_BASE: place('log'),
      RABBITMQ_LOGS: place('log/node.log'),
      RABBITMQ_CONFIG_FILE: place('rabbitmq.conf'),
      RABBITMQ_CONF_ENV_FILE: place('environment'),
      RABBITMQ_ENABLED_PLUGINS_FILE: place('plugins'),
      RABBITMQ_DIST_PORT: String(await freePort()),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
      ERL_EPMD_PORT: String(await startPortMapper(owner)),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      // The script then becomes the server instead of waiting for it.
      RUNNING_UNDER_SYSTEMD: '1',
    };
    const program = existsSync(DEBIAN_PROGRAM) ? DEBIAN_PROGRAM : programPath('rabbitmq-server')!;
    const options = { env, stdio: 'ignore' as const };
    const pid = await startServer(owner, [...launcher, program], port, options, START_PATIENCE_MS);
    const log = readFileSync(place('log/node.log'), 'utf8');
    return {
      ports: [port],
      pids: [pid],
      version: /RabbitMQ (\d[\w.-]*)/.exec(log)?.[1] ?? 'unknown',
      setting: 'one node, MQTT plugin: prefetch 1000, classic queues, durable for persistent sessions',
      ack: 'all queues have taken the message; a durable queue has it on disk by then, or its consumer has acknowledged it',
    };
  },
};
