// The echo peer as a program; see echo.ts. Started by it only.

import { createServer, type Socket } from 'node:net';

const subscribers = new Map<string, Socket>();

function topicAt(chunk: Buffer, start: number): string {
  return chunk.toString('latin1', start + 2, start + 2 + chunk.readUInt16BE(start));
}

const server = createServer({ noDelay: true }, (socket) => {
  let target: Socket | undefined;
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    if (target) {
      target.write(chunk);
      return;
    }
    const type = chunk[0]! >> 4;
    if (type === 1) socket.write(Buffer.from([0x20, 2, 0, 0]));
    else if (type === 8) {
      subscribers.set(topicAt(chunk, 4), socket);
      socket.write(Buffer.from([0x90, 3, chunk[2]!, chunk[3]!, 0]));
    } else if (type === 3) {
      target = subscribers.get(topicAt(chunk, 2));
      target?.write(chunk);
    }
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
