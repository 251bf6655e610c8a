// Many persistent sessions made through the broker as devices would: connect, subscribe, disconnect. Bytes are encoded
// once per session and nothing is recorded, so that the broker is what takes the time.

import { connect } from 'node:net';
import mqtt from 'mqtt-packet';

export interface SessionPlan {
  count: number;
  /** Ports of the nodes, used in turn. */
  ports: number[];
  clientId: (index: number) => string;
  filters: (index: number) => string[];
  qos: 0 | 1 | 2;
  /** Sessions made at a time; default 64. */
  atOnce?: number;
}

/** Makes the sessions of `plan`; resolves when the last one has its SUBACK and is offline. */
export async function makeSessions(plan: SessionPlan): Promise<void> {
  let next = 0;
  const work = async () => {
    while (next < plan.count) {
      const index = next++;
      await makeSession(plan, index);
    }
  };
  await Promise.all(Array.from({ length: plan.atOnce ?? 64 }, work));
}

function makeSession(plan: SessionPlan, index: number): Promise<void> {
  const { ports, clientId, filters, qos } = plan;
  const subscriptions = filters(index).map((topic) => ({ topic, qos }));
  const packets = [
    mqtt.generate({
      cmd: 'connect',
      clientId: clientId(index),
      clean: false,
      keepalive: 0,
      protocolVersion: 4,
    }),
    mqtt.generate({ cmd: 'subscribe', messageId: 1, subscriptions }),
  ];
  return new Promise((resolve, reject) => {
    const socket = connect({ port: ports[index % ports.length]!, host: '127.0.0.1', noDelay: true });
    const parser = mqtt.parser();
    socket.setTimeout(60_000, () => socket.destroy(new Error('no answer within a minute')));
    socket.on('data', (chunk: Buffer) => parser.parse(chunk));
    let isDone = false;
    parser.on('packet', (packet) => {
      if (packet.cmd === 'connack' && packet.returnCode !== 0)
        socket.destroy(new Error(`CONNACK ${packet.returnCode}`));
      if (packet.cmd !== 'suback') return;
      isDone = packet.granted.every((code) => code === qos);
      socket.end(mqtt.generate({ cmd: 'disconnect' }));
    });
    socket.on('error', reject);
    socket.on('close', () => (isDone ? resolve() : reject(new Error(`${clientId(index)}: no session`))));
    socket.write(Buffer.concat(packets));
  });
}
