// NATS server from PATH with JetStream and its MQTT listener: one server, streams in files. Its limit of unacknowledged
// messages per subscription is raised, so that it is not what is measured.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, temporaryFolder } from '../../test/helpers/owner.ts';
import { obstacleOf, type Peer, programPath, startServer, versionOf } from './peer.ts';

const LACKS = {
  qos2: 'this NATS server has no QoS 2',
  mqtt5: 'this NATS server has no MQTT 5',
  groups: 'this NATS server has no shared subscriptions for MQTT clients',
};

export const nats: Peer = {
  name: 'nats',
  obstacle: (workload) => obstacleOf(workload, LACKS, 'nats-server'),
  async start(owner, { certificate, launcher }) {
    const port = await freePort();
    const folder = temporaryFolder(owner, 'nats');
    const file = join(folder, 'nats.conf');
    const tls = certificate
      ? `tls { cert_file: "${certificate.certFile}", key_file: "${certificate.keyFile}" }`
      : '';
    const lines = [
      'server_name: bench',
      `listen: 127.0.0.1:${await freePort()}`,
      `jetstream { store_dir: "${folder}", max_memory_store: 4GB, max_file_store: 20GB }`,
      `mqtt { host: 127.0.0.1, port: ${port}, max_ack_pending: 60000, ${tls} }`,
      `log_file: "${join(folder, 'nats.log')}"`,
      '',
    ];
    writeFileSync(file, lines.join('\n'));
    const program = programPath('nats-server')!;
    const pid = await startServer(owner, [...launcher, program, '-c', file], port);
    return {
      ports: [port],
      pids: [pid],
      version: versionOf(program, '--version'),
      setting: 'one server, JetStream in files (sync_interval as it comes, 2 min), max_ack_pending 60000',
      ack: 'the message is written to the file of its stream, synced to disk within 2 minutes',
    };
  },
};
