// Receptions of one publisher as their owner knows them: slots and packet identifiers, above all of those that are
// recorded ahead; and which identifiers are expected.

import t from 'tap';
import { ExpectedIds } from '../../src/delivery/expected-ids.ts';
import { type Reception, Receptions, UNCHOSEN } from '../../src/store/receptions.ts';

/** As a store does it. */
function settle(receptions: Receptions, ended: Reception, next: Reception | null, mid: number): void {
  if (next !== null) next.mid = mid;
  receptions.remove(ended);
}

function received(receptions: Receptions, packetId: number, mid: number): Reception {
  const reception = receptions.add(packetId, '');
  reception.mid = mid;
  reception.state = 'received';
  return reception;
}

t.test('one that is recorded ahead has the slot of the one that ends', async (t) => {
  const receptions = new Receptions([]);
  const first = received(receptions, 1, 100);
  received(receptions, 2, 101);
  first.state = 'over';
  const next = receptions.addAhead(first, 3);
  t.match(next, { slot: 0, mid: 0, state: 'ahead', choices: UNCHOSEN, isKept: false });
  t.equal(receptions.get(1), first, 'until the write is done');
  t.equal(receptions.get(3), next);
  settle(receptions, first, next, 102);
  t.equal(receptions.get(1), undefined);
  t.same(
    receptions.keptIn(0, 32).map(({ packetId, slot, mid }) => [packetId, slot, mid]),
    [
      [3, 0, 102],
      [2, 1, 101],
    ],
  );
  t.equal(receptions.kept().length, 2);
  t.same(receptions.allAhead(), [next]);
});

t.test('with its own identifier it is known when the one before has gone', async (t) => {
  const receptions = new Receptions([]);
  const first = received(receptions, 1, 100);
  first.state = 'over';
  const next = receptions.addAhead(first, 1);
  t.equal(receptions.get(1), first);
  settle(receptions, first, next, 101);
  t.equal(receptions.get(1), next);
  next.state = 'over';
  receptions.remove(next);
  t.equal(receptions.get(1), undefined);
  t.equal(receptions.add(9, '').slot, 0, 'the slot is free');
});

t.test('what comes instead takes its slot, when the store has answered', async (t) => {
  const receptions = new Receptions([]);
  const first = received(receptions, 1, 100);
  first.state = 'over';
  const next = receptions.addAhead(first, 2);
  t.equal(receptions.add(70, '').slot, 1, 'it may be in the store by now, with a mid that nobody knows');
  settle(receptions, first, next, 101);
  const other = receptions.add(71, '');
  t.match(other, { slot: 0, replaces: 2, mid: 0 });
  t.equal(next.state, 'over');
  t.equal(receptions.get(2), undefined);
  t.equal(receptions.add(72, '').slot, 2, 'there is no other one');
  t.same(receptions.allAhead(), []);
});

t.test('one that is taken is not replaced, and the list of them does not grow', async (t) => {
  const receptions = new Receptions([]);
  let mid = 100;
  let last = received(receptions, 1, mid++);
  const skipped = received(receptions, 500, mid++);
  skipped.state = 'over';
  settle(receptions, skipped, receptions.addAhead(skipped, 501), mid++);
  for (let id = 2; id < 1000; id++) {
    last.state = 'over';
    const next = receptions.addAhead(last, id === 501 ? 2000 : id);
    settle(receptions, last, next, mid++);
    t.equal(next.slot, 0);
    next.state = 'busy';
    last = next;
    if (receptions.allAhead().length !== 1) t.fail(`${receptions.allAhead().length} are ahead`);
  }
  t.equal(receptions.add(3000, '').replaces, 501);
  t.equal(receptions.kept().length, 1);
});

/** What is expected of a client that has `window` messages under way, and how much of what comes was. */
function hits(ids: readonly number[], window: number): number {
  const receptions = new Receptions([]);
  const expected = new ExpectedIds();
  const underWay: Reception[] = [];
  let mid = 1;
  let hits = 0;
  for (const id of ids) {
    if (underWay.length === window) {
      const oldest = underWay.shift()!;
      oldest.state = 'over';
      const nextId = expected.take(oldest.packetId, receptions);
      settle(receptions, oldest, nextId === 0 ? null : receptions.addAhead(oldest, nextId), mid++);
    }
    const known = receptions.get(id);
    if (known?.state === 'ahead') {
      hits++;
      expected.confirm(id);
      known.state = 'received';
      underWay.push(known);
    } else {
      expected.learn(id);
      underWay.push(received(receptions, id, mid++));
    }
  }
  return hits;
}

const counting = (count: number, from: number, to: number): number[] =>
  Array.from({ length: count }, (_, index) => from + (index % (to - from + 1)));

t.test('identifiers are expected of clients that count', async (t) => {
  t.equal(hits(counting(1000, 1, 65_535), 1), 999);
  t.equal(hits(counting(1000, 30_000, 65_535), 16), 984);
  t.equal(
    hits([...counting(100, 65_486, 65_535)].slice(0, 50).concat(counting(50, 1, 100)), 4),
    96,
    'over the end',
  );
  t.equal(hits(counting(1000, 1, 64), 16), 983, 'in a ring of their own, once they have gone round');
  t.equal(hits(counting(1000, 1, 20), 20), 979, 'with the lowest that is free');
  t.equal(hits(counting(1000, 1, 1), 1), 998);
  const odd = counting(1000, 1, 65_535).filter((id) => id % 100 !== 0);
  t.ok(hits(odd, 4) > 940, 'that use some for something else');
  const random = Array.from({ length: 500 }, (_, index) => ((index * 7919) % 60_000) + 1);
  t.ok(hits(random, 4) < 20);
});
