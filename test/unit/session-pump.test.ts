// G3 and G4 on one node: whatever order pushes, answers to pulls and acks come in, a session's messages leave in the order
// of their sequence numbers, each once on a connection, with packet identifiers that follow from them.

import t from 'tap';
import { buildBody } from '../../src/mqtt/message.ts';
import { ALL_IDS, packetIdOf } from '../../src/mqtt/packet-id.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import { Pump } from '../../src/session/pump.ts';
import { SharedPayloads } from '../../src/session/shared-payloads.ts';
import type { AckOperation, Operation, PullOperation } from '../../src/store/operations.ts';
import { encodeEntryHeader, PUBREL_ENTRY } from '../../src/store/records.ts';
import type { Store } from '../../src/store/store.ts';
import { seededRandom } from '../../src/util/random.ts';
import { FakeLink } from '../helpers/fake-link.ts';

const owner = { incarnation: 'node', epoch: 1 };

/** One session's queue, answering operations one by one when the test says so. */
class QueueStore {
  readonly entries = new Map<number, Buffer>();
  readonly pending: Operation[] = [];
  tail = 0;
  head = 1;
  refuses = false;

  submit(operation: Operation): void {
    this.pending.push(operation);
  }

  hurry(operation: Operation): void {
    operation.isPatient = false;
  }

  nowMs(): number {
    return 0;
  }

  add(qos: 1 | 2): { seq: number; header: Buffer; body: Buffer } {
    const seq = ++this.tail;
    const header = encodeEntryHeader({
      qos,
      retain: false,
      expiresAt: 0,
      ownExpiry: false,
      reference: false,
      copy: false,
      subscriptionIds: null,
    });
    const body = buildBody('topic', Buffer.from(String(seq)));
    this.entries.set(seq, Buffer.concat([header, body]));
    return { seq, header, body };
  }

  /** Answers the oldest operation. */
  answer(): boolean {
    const operation = this.pending.shift();
    if (operation === undefined) return false;
    operation.seal();
    if (operation.kind === 'ack') this.#ack(operation as AckOperation);
    else if (operation.kind === 'pull') this.#pull(operation as PullOperation);
    operation.complete();
    return true;
  }

  answerAll(): void {
    while (this.answer());
  }

  #ack(ack: AckOperation): void {
    ack.status = this.refuses ? 'fenced' : 'ok';
    ack.tail = this.tail;
    if (this.refuses) return;
    for (const seq of ack.done) this.entries.delete(seq);
    for (const seq of ack.released) this.entries.set(seq, PUBREL_ENTRY);
    this.head = Math.max(this.head, ack.head);
  }

  #pull(pull: PullOperation): void {
    pull.status = this.refuses ? 'fenced' : 'ok';
    pull.first = pull.from;
    pull.tail = this.tail;
    const until = Math.min(this.tail, pull.from + pull.count - 1);
    for (let seq = pull.from; seq <= until; seq++) pull.entries.push(this.entries.get(seq) ?? null);
  }
}

function pumpOn(
  queue: QueueStore,
  claimed: { head?: number; sent?: number; inflightMax?: number } = {},
): Pump {
  const store = queue as unknown as Store;
  return new Pump({
    store,
    payloads: new SharedPayloads(store, 1000),
    stats: new NodeStats(),
    clientId: 'client',
    owner,
    head: claimed.head ?? queue.head,
    tail: queue.tail,
    sent: claimed.sent ?? queue.tail,
    mayWait: true,
    inflightMax: claimed.inflightMax ?? 16,
    pullBytes: 1_000_000,
    ids: ALL_IDS,
    inflightBeside: () => 0,
    onFenced: () => fenced.push(true),
    onRetained() {},
    isOldCopy: () => false,
    onUnreadable: (error) => {
      throw error;
    },
    onDamaged: (error) => {
      throw error;
    },
  });
}
let fenced: boolean[] = [];
t.beforeEach(() => {
  fenced = [];
});

t.test('a queue that ends before what was sent of it is not gone on with', async (t) => {
  const queue = new QueueStore();
  const pump = pumpOn(queue);
  const link = new FakeLink('client');
  pump.start(link);
  queue.answerAll();
  for (let count = 0; count < 3; count++) {
    const { seq, header, body } = queue.add(1);
    pump.push(seq, header, body);
  }
  queue.tail = 1;
  pump.forgetKnown();
  t.throws(() => queue.answerAll(), { code: 'SWARMQ_ERR_RECORD_CORRUPT' }, 'its owner is told');
  queue.tail = 9;
  pump.learn(9);
  queue.answerAll();
  t.same(link.payloads(), ['1', '2', '3'], 'nothing more is sent');
});

t.test('a push in turn goes straight to the connection', async (t) => {
  const queue = new QueueStore();
  const pump = pumpOn(queue);
  const link = new FakeLink('client');
  pump.start(link);
  queue.answerAll();
  const one = queue.add(1);
  pump.push(one.seq, one.header, one.body);
  t.same(link.payloads(), ['1']);
  t.equal(link.sent[0].packetId, 1);
  t.equal(link.sent[0].dup, false);
});

t.test('a push that overtakes the answer of a pull is read later, in its turn', async (t) => {
  const queue = new QueueStore();
  queue.add(1);
  const pump = pumpOn(queue, { head: 1, sent: 0 });
  const link = new FakeLink('client');
  pump.start(link);
  const two = queue.add(1);
  pump.push(two.seq, two.header, two.body);
  t.same(link.payloads(), [], 'the pull under way comes first');
  queue.answerAll();
  t.same(link.payloads(), ['1', '2']);
});

t.test('a lost push is made good by the next one', async (t) => {
  const queue = new QueueStore();
  const pump = pumpOn(queue);
  const link = new FakeLink('client');
  pump.start(link);
  queue.answerAll();
  queue.add(1);
  const two = queue.add(1);
  pump.push(two.seq, two.header, two.body);
  queue.answerAll();
  t.same(link.payloads(), ['1', '2']);
});

t.test('nothing is sent beyond the window, and acks open it', async (t) => {
  const queue = new QueueStore();
  const pump = pumpOn(queue, { inflightMax: 4 });
  const link = new FakeLink('client');
  pump.start(link);
  queue.answerAll();
  for (let count = 0; count < 10; count++) {
    const { seq, header, body } = queue.add(1);
    pump.push(seq, header, body);
  }
  queue.answerAll();
  t.equal(link.payloads().length, 4);
  // An ack of a later one does not let the window pass the oldest.
  pump.handlePuback(packetIdOf(2));
  queue.answerAll();
  t.equal(link.payloads().length, 4);
  pump.handlePuback(packetIdOf(1));
  queue.answerAll();
  t.same(link.payloads(), ['1', '2', '3', '4', '5', '6']);
});

t.test(
  'after a claim without a clean release the whole window is sent with DUP [MQTT-4.4.0-1]',
  async (t) => {
    const queue = new QueueStore();
    for (let count = 0; count < 3; count++) queue.add(1);
    const pump = pumpOn(queue, { head: 1, sent: -1 });
    const link = new FakeLink('client');
    pump.start(link);
    queue.answerAll();
    t.same(
      link.sent.map(({ packetId, dup }) => [packetId, dup]),
      [
        [1, true],
        [2, true],
        [3, true],
      ],
    );
    const four = queue.add(1);
    pump.push(four.seq, four.header, four.body);
    t.equal(link.sent[3].dup, false);
  },
);

t.test('PUBREL leaves when "PUBREC seen" is committed, and is what a resume repeats', async (t) => {
  const queue = new QueueStore();
  const pump = pumpOn(queue);
  const link = new FakeLink('client');
  pump.start(link);
  queue.answerAll();
  const one = queue.add(2);
  pump.push(one.seq, one.header, one.body);
  pump.handlePubrec(1, 0);
  t.equal(link.sent.length, 1, 'not before the commit');
  queue.answerAll();
  t.equal(link.sent[1].type, 6);
  const resumed = new FakeLink('client');
  pumpOn(queue, { head: 1, sent: -1 }).start(resumed);
  queue.answerAll();
  t.same(
    resumed.sent.map(({ type, packetId }) => [type, packetId]),
    [[6, 1]],
  );
});

t.test('acks are patient only while nothing waits for their commit', async (t) => {
  const queue = new QueueStore();
  const pump = pumpOn(queue, { inflightMax: 8 });
  pump.start(new FakeLink('client'));
  queue.answerAll();
  const push = (...qos: (1 | 2)[]) => {
    for (const one of qos) {
      const { seq, header, body } = queue.add(one);
      pump.push(seq, header, body);
    }
  };
  const isPatient = () => queue.pending.find(({ kind }) => kind === 'ack')?.isPatient;
  push(1, 2);
  pump.handlePuback(packetIdOf(1));
  t.equal(isPatient(), true, 'all is sent, and there is room');
  pump.handlePubrec(packetIdOf(2), 0);
  t.equal(isPatient(), false, 'PUBREL waits for it');
  queue.answerAll();
  pump.handlePubcomp(packetIdOf(2));
  queue.answerAll();
  push(1);
  pump.handlePuback(packetIdOf(3));
  t.equal(isPatient(), true);
  push(1, 1, 1, 1);
  pump.handlePuback(packetIdOf(4));
  t.equal(isPatient(), false, 'half the window is behind it');
  for (const seq of [5, 6, 7]) pump.handlePuback(packetIdOf(seq));
  queue.answerAll();
  push(1);
  pump.handlePuback(packetIdOf(8));
  t.equal(isPatient(), true);
  push(1, 1, 1, 1, 1, 1, 1);
  t.equal(isPatient(), true, 'there is room for seven');
  push(1);
  t.equal(isPatient(), false, 'a message waits for room');
});

t.test('a refused ack tells that the session is somebody else’s', async (t) => {
  const queue = new QueueStore();
  const pump = pumpOn(queue);
  pump.start(new FakeLink('client'));
  queue.answerAll();
  const one = queue.add(1);
  pump.push(one.seq, one.header, one.body);
  queue.refuses = true;
  pump.handlePuback(1);
  queue.answerAll();
  t.same(fenced, [true]);
});

t.test('any order of events: in order, once, all, over two wraps of the packet identifier', async (t) => {
  const seed = Number(process.env.SWARMQ_SEED ?? 20);
  t.comment(`seed ${seed}`);
  const random = seededRandom(seed);
  const queue = new QueueStore();
  const pump = pumpOn(queue, { inflightMax: 32 });
  const link = new FakeLink('client');
  const total = 140_000;
  const unacked: { packetId: number; qos: number; type: number }[] = [];
  link.onSend = (packet) => {
    unacked.push(packet);
  };
  pump.start(link);
  let rounds = 0;
  while (queue.tail < total || queue.entries.size > 0) {
    if (++rounds > 40 * total) break;
    const dice = random.below(10);
    if (dice < 4 && queue.tail < total) {
      const { seq, header, body } = queue.add(random.below(2) === 0 ? 1 : 2);
      if (random.below(10) > 0) pump.push(seq, header, body);
    } else if (dice < 7 && unacked.length > 0) {
      const [packet] = unacked.splice(random.below(Math.min(unacked.length, 4)), 1);
      if (packet.type === 6) pump.handlePubcomp(packet.packetId);
      else if (packet.qos === 1) pump.handlePuback(packet.packetId);
      else pump.handlePubrec(packet.packetId, 0);
    } else if (!queue.answer()) pump.learn(queue.tail);
  }
  const payloads = link.payloads();
  t.equal(payloads.length, total, `all arrived (seed ${seed})`);
  t.ok(
    payloads.every((payload, index) => payload === String(index + 1)),
    `in order and once (seed ${seed})`,
  );
  t.ok(pump.inflight <= 32);
});
