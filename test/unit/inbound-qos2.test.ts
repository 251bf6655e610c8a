// The receiving half of QoS 2 on a store of paper: what is submitted, and what a message waits for, where its packet
// identifier was recorded ahead of it.

import t from 'tap';
import { Commit, type Line } from '../../src/delivery/commit.ts';
import type { Gate } from '../../src/delivery/gate.ts';
import { choiceOfClient } from '../../src/delivery/group-message.ts';
import { InboundQos2 } from '../../src/delivery/inbound-qos2.ts';
import { PacketType } from '../../src/mqtt/packet-type.ts';
import type { SharedGroups } from '../../src/routing/shared-groups.ts';
import type { Link } from '../../src/session/link.ts';
import type { Session } from '../../src/session/session.ts';
import {
  ForgetInboundOperation,
  type Operation,
  RecordInboundOperation,
} from '../../src/store/operations.ts';
import { type InboundRecord, Receptions, UNCHOSEN } from '../../src/store/receptions.ts';
import type { Store } from '../../src/store/store.ts';

type Change = RecordInboundOperation | ForgetInboundOperation;

const GROUPS = { get: () => undefined } as unknown as SharedGroups;

function open(records: readonly InboundRecord[] = [], persistent = true) {
  const submitted: Change[] = [];
  const sent: [type: number, packetId: number, reasonCode: number | undefined][] = [];
  const fanned: number[] = [];
  let mid = 1000;
  let finished = 0;
  const session = {
    clientId: 'p',
    owner: { incarnation: 'a', epoch: 1 },
    receptions: new Receptions(records),
    persistent,
    isEnded: false,
    lose: () => {
      session.isEnded = true;
    },
  };
  const link = {
    version: 5,
    wantsReasons: false,
    sendAck: (...ack: [number, number, number?]) => void sent.push([ack[0], ack[1], ack[2]]),
  } as unknown as Link;
  const store = { submit: (operation: Operation) => void submitted.push(operation as Change) };
  const inbound = new InboundQos2(
    store as unknown as Store,
    { isOpen: true } as unknown as Gate,
    GROUPS,
    session as unknown as Session,
    link,
    () => void finished++,
  );
  /** Runs what was submitted, as a store does. */
  function run({ status = 'ok', isFull = false }: { status?: 'ok' | 'fenced'; isFull?: boolean } = {}): void {
    for (const change of submitted.splice(0)) {
      change.status = status;
      const recorded = change instanceof RecordInboundOperation ? change.reception : change.next;
      if (status === 'ok' && !isFull && recorded !== null && recorded.mid === 0) recorded.mid = mid++;
      change.complete();
    }
  }
  function publish(packetId: number, { retain = false, group = '' } = {}): Commit {
    const advance = () => void (commit.prerequisites === 0 && fanned.push(packetId));
    const commit = new Commit(
      { advance } as unknown as Line,
      ...(['p', 'x', Buffer.alloc(0), 2, retain, 0, false, packetId] as const),
    );
    if (group !== '') commit.choices = [choiceOfClient(GROUPS, group, 'member')];
    inbound.begin(commit);
    advance();
    return commit;
  }
  const recorded = (): [string, number, number][] =>
    submitted.map((one) => [
      one.kind,
      one.reception.packetId,
      one instanceof ForgetInboundOperation ? (one.next?.packetId ?? 0) : 0,
    ]);
  /** One whole exchange. */
  function exchange(packetId: number): void {
    publish(packetId);
    run();
    inbound.received(packetId, 0);
    inbound.release(packetId);
    run();
    sent.length = 0;
    fanned.length = 0;
  }
  const figures = { finished: () => finished };
  return { inbound, session, sent, fanned, submitted, run, publish, recorded, exchange, ...figures };
}

t.test('the write that ends one message records the next', async (t) => {
  const { inbound, sent, fanned, run, publish, recorded, finished } = open();
  const first = publish(7);
  t.same(recorded(), [['record-inbound', 7, 0]]);
  t.same(fanned, []);
  run();
  t.same(fanned, [7]);
  t.match(first.mark, { mid: 1000 });
  inbound.received(7, 0);
  inbound.release(7);
  t.same(recorded(), [['forget-inbound', 7, 8]]);
  run();
  t.same(sent, [
    [PacketType.PUBREC, 7, 0],
    [PacketType.PUBCOMP, 7, 0],
  ]);
  t.equal(finished(), 1);
  const second = publish(8);
  t.same(fanned, [7, 8], 'at once');
  t.match(second.mark, { key: first.mark!.key, mid: 1001 });
  t.same(recorded(), []);
  inbound.received(8, 0);
  inbound.release(8);
  t.same(recorded(), [['forget-inbound', 8, 9]]);
});

t.test('one that comes before the store has answered waits for that', async (t) => {
  const { inbound, fanned, run, publish, recorded, session } = open();
  publish(1);
  run();
  inbound.received(1, 0);
  inbound.release(1);
  const early = publish(2);
  t.same(recorded(), [['forget-inbound', 1, 2]], 'no record of its own');
  t.same(fanned, [1]);
  run();
  t.same(fanned, [1, 2]);
  t.match(early.mark, { mid: 1001 });
  inbound.received(2, 0);
  inbound.release(2);
  const lost = publish(3);
  run({ status: 'fenced' });
  t.equal(lost.cancelled, true);
  t.equal(session.isEnded, true);
});

t.test('where memory is too full to record it, it is recorded when it comes', async (t) => {
  const { inbound, sent, fanned, run, publish, recorded } = open();
  publish(1);
  run();
  inbound.received(1, 0);
  inbound.release(1);
  run({ isFull: true });
  t.same(sent.at(-1), [PacketType.PUBCOMP, 1, 0], 'what ends is not held up');
  publish(2);
  t.same(recorded(), [['record-inbound', 2, 0]]);
  run();
  t.same(fanned, [1, 2]);
  inbound.received(2, 0);
  inbound.release(2);
  const early = publish(3);
  run({ isFull: true });
  t.same(recorded(), [['record-inbound', 3, 0]], 'also if it is here already');
  t.equal(early.mark, null);
  run();
  t.same(fanned, [1, 2, 3]);
});

t.test('what is to be retained, and who is chosen, is written before it goes on', async (t) => {
  const { fanned, run, publish, recorded, exchange, session } = open();
  exchange(1);
  const retained = publish(2, { retain: true });
  t.same(recorded(), [['record-inbound', 2, 0]]);
  t.same(fanned, []);
  run();
  t.same(fanned, [2]);
  t.match(retained.mark, { mid: 1001 }, 'with the mid that it has');
  exchange(1000);
  publish(1001, { group: '$share/g/x' });
  t.equal(session.receptions.get(1001)?.choices, '[["$share/g/x","member"]]');
  t.same(recorded(), [['record-inbound', 1001, 0]]);
  const { cancelled } = publish(5);
  t.equal(cancelled, false);
  run({ status: 'fenced' });
  t.same(fanned, [1001, 5], 'the line drops what is cancelled');
});

t.test('nobody can end what has not begun', async (t) => {
  const { inbound, sent, recorded, exchange } = open();
  exchange(1);
  inbound.release(2);
  t.same(sent, [[PacketType.PUBCOMP, 2, 0x92]]);
  t.same(recorded(), []);
  t.equal(inbound.sight(2), 'new');
});

t.test('on the next node it may be a new message or a repetition', async (t) => {
  const { inbound, sent, fanned, publish, recorded, session, run } = open([
    { packetId: 5, slot: 0, mid: 900, choices: UNCHOSEN },
    { packetId: 6, slot: 1, mid: 901, choices: UNCHOSEN },
    { packetId: 7, slot: 2, mid: 902, choices: UNCHOSEN },
  ]);
  const plain = publish(5);
  t.same(fanned, [5]);
  t.match(plain, { mark: { mid: 900 }, isRepetition: false });
  const chosen = publish(6, { group: '$share/g/x' });
  t.equal(chosen.choices?.length, 1, 'nobody had chosen for it');
  t.same(recorded(), [['record-inbound', 6, 0]]);
  run();
  t.same(fanned, [5, 6]);
  t.equal(session.receptions.get(6)?.choices, '[["$share/g/x","member"]]');
  inbound.release(7);
  t.same(recorded(), [['forget-inbound', 7, 7]], 'its PUBREC may have come from the node before');
  run();
  t.same(sent.at(-1), [PacketType.PUBCOMP, 7, 0]);
});

t.test('with the connection goes what is ahead, of a session that goes on', async (t) => {
  const going = open();
  going.exchange(1);
  going.inbound.close();
  t.same(going.recorded(), [['forget-inbound', 2, 0]]);
  going.run();
  t.same(going.session.receptions.kept(), []);
  const ending = open([], false);
  ending.exchange(1);
  ending.inbound.close();
  t.same(ending.recorded(), []);
  const taken = open();
  taken.exchange(1);
  taken.session.isEnded = true;
  taken.inbound.close();
  t.same(taken.recorded(), []);
});
