// A history gives back what was put in, from memory and from its file, over the bounds of its blocks.

import { join } from 'node:path';
import t from 'tap';
import { temporaryFolder } from '../helpers/owner.ts';
import { check } from './checker.ts';
import { History, type HistoryEvent } from './history.ts';

function sampleEvents(count: number): HistoryEvent[] {
  const base = { client: 'ä', connection: 3 };
  const events: HistoryEvent[] = [
    { kind: 'connect', at: 0.25, ...base, port: 1, version: 5, clean: true, expirySec: 7, will: null },
    { kind: 'connack', at: 1, ...base, sessionPresent: false, reason: 0 },
    { kind: 'fault', at: 2, what: 'kill a', phase: 'moment', scope: 'node', port: 1, lossFrom: null },
  ];
  for (let id = 1; events.length < count; id++) {
    const topic = `t/${id % 7}`;
    const message = { ...base, at: id + 0.5, id, topic };
    events.push(
      { kind: 'publish', ...message, qos: 2, retain: id % 2 === 0, isEmpty: id % 3 === 0, expirySec: id % 5 },
      { kind: 'acked', at: id, client: 'b', connection: 0, id, reason: 0x10 },
      { kind: 'deliver', ...message, client: 'b', qos: 1, retain: false, dup: true, packetId: 65_535 },
      { kind: 'resent', at: id, ...base, id },
    );
  }
  return events;
}

t.test('what goes in comes out', async (t) => {
  const events = sampleEvents(70_000);
  const history = new History();
  for (const event of events) history.add(event);
  t.equal(history.length, events.length);
  t.same([...history], events);
  t.throws(() => history.event(history.length));

  const path = join(temporaryFolder(t, 'history'), 'run.jsonl');
  history.write(path);
  t.same([...History.read(path)], events, 'by its file');
  t.same(check(new History()), [], 'nothing happened, nothing is wrong');
});
