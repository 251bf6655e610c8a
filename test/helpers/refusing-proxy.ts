// A proxy in front of a Redis server that answers some commands with an error of its own, as a server would that is
// loading, or whose slot is elsewhere; those never reach the server. Replies keep the order of the commands, so that the
// client cannot tell. It reads the protocol (RESP 2) as far as the ends of commands and replies, and no further.

import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { Owner } from './owner.ts';

/** The error with which a command is refused, without its '-', or null to let it pass. */
export type Judge = (command: Buffer) => string | null;

/** Where the value that begins at `from` ends, or -1 when it is not whole yet. */
function endOfValue(bytes: Buffer, from: number): number {
  const lineEnd = bytes.indexOf('\r\n', from);
  if (lineEnd < 0) return -1;
  const kind = bytes[from];
  const count = Number(bytes.toString('latin1', from + 1, lineEnd));
  let at = lineEnd + 2;
  if (kind === 0x24) {
    at += count < 0 ? 0 : count + 2;
    return at <= bytes.length ? at : -1;
  }
  if (kind !== 0x2a) return at;
  for (let index = 0; index < count && at >= 0; index++) at = endOfValue(bytes, at);
  return at;
}

/** Cuts a stream into values. */
class Cutter {
  #rest: Buffer = Buffer.alloc(0);

  take(chunk: Buffer): Buffer[] {
    const bytes = Buffer.concat([this.#rest, chunk]);
    const values: Buffer[] = [];
    let at = 0;
    for (;;) {
      const end = at < bytes.length ? endOfValue(bytes, at) : -1;
      if (end < 0) break;
      values.push(bytes.subarray(at, end));
      at = end;
    }
    this.#rest = bytes.subarray(at);
    return values;
  }
}

/** Made by `startRefusingProxy`. */
export class RefusingProxy {
  /** Commands refused so far. */
  refused = 0;
  judge: Judge = () => null;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(targetPort: number) {
    this.#server = createServer((inner) => this.#join(inner, connect(targetPort, '127.0.0.1')));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', () => resolve()));
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client: Socket, server: Socket): void {
    for (const [socket, mate] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        mate.destroy();
      });
    }
    const commands = new Cutter();
    const replies = new Cutter();
    /** What is to be answered, in order: the server's next reply (null), or a refusal. */
    const owed: (string | null)[] = [];
    const tellRefusals = () => {
      while (typeof owed[0] === 'string') client.write(`-${owed.shift()}\r\n`);
    };
    client.on('data', (chunk: Buffer) => {
      for (const command of commands.take(chunk)) {
        const refusal = this.judge(command);
        owed.push(refusal);
        if (refusal === null) server.write(command);
        else this.refused++;
      }
      tellRefusals();
    });
    server.on('data', (chunk: Buffer) => {
      for (const reply of replies.take(chunk)) {
        client.write(reply);
        owed.shift();
        tellRefusals();
      }
    });
  }
}

/** A proxy in front of 127.0.0.1:`targetPort`, closed at teardown. */
export async function startRefusingProxy(owner: Owner, targetPort: number): Promise<RefusingProxy> {
  const proxy = new RefusingProxy(targetPort);
  await proxy.listen();
  owner.teardown(() => proxy.close());
  return proxy;
}
