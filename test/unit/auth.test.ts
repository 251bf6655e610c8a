// Users, passwords and SCRAM-SHA-256 without a connection: the example of RFC 7677, whatever a client may do wrong, and
// that a name nobody has is answered like one that somebody has.

import t from 'tap';
import { Authentication } from '../../src/auth/authentication.ts';
import type { AuthStep } from '../../src/auth/mechanism.ts';
import { makeKeys } from '../../src/auth/scram-keys.ts';
import { type Random, systemRandom } from '../../src/util/random.ts';
import { scramFinal } from '../helpers/scram-client.ts';

const SALT = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
const SERVER_NONCE = '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
const exampleRandom: Random = {
  below: () => 0,
  id: (characters) => (characters === 24 ? SERVER_NONCE : 'k'.repeat(characters)),
};

const dataOf = (step: AuthStep) => ('data' in step ? String(step.data) : `refused ${step.reasonCode}`);

async function authenticationOf(random: Random = exampleRandom): Promise<Authentication> {
  const users = [
    { username: 'user', keys: await makeKeys('pencil', SALT, 4096) },
    { username: 'a,b=c', keys: await makeKeys('p\u00e4ss', Buffer.from('0123456789ab'), 1000) },
  ];
  return new Authentication({ users, allowAnonymous: false, random });
}

const finalOf = (...args: Parameters<typeof scramFinal>) => String(scramFinal(...args).message);

const begin = async () => (await authenticationOf()).mechanism('SCRAM-SHA-256')!.begin();

t.test('the example of RFC 7677', async (test) => {
  const conversation = await begin();
  const first = await conversation.next(Buffer.from('n,,n=user,r=rOprNGfwEbeRWgbNEkqO'));
  test.equal(first.kind, 'continue');
  test.equal(dataOf(first), `r=rOprNGfwEbeRWgbNEkqO${SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`);
  const last = await conversation.next(
    Buffer.from(
      `c=biws,r=rOprNGfwEbeRWgbNEkqO${SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
    ),
  );
  test.match(last, { kind: 'done', username: 'user' });
  test.equal(dataOf(last), 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
});

t.test('names with commas, passwords of other keyboards, an empty first packet', async (test) => {
  const conversation = await begin();
  test.same(await conversation.next(null), { kind: 'continue', data: null });
  const bare = 'n=a=2Cb=3Dc,r=abc';
  const first = dataOf(await conversation.next(Buffer.from(`y,a=a=2Cb=3Dc,${bare}`)));
  const final = finalOf(bare, first, 'pa\u0308ss', 'y,a=a=2Cb=3Dc,');
  test.match(await conversation.next(Buffer.from(final)), { kind: 'done', username: 'a,b=c' });
});

t.test('what a client may do wrong is not authorized', async (test) => {
  const refused = { kind: 'refused', reasonCode: 0x87 };
  const firsts = [
    'p=tls-unique,,n=user,r=abc',
    'n,,n=user',
    'n,,n=,r=abc',
    'n,,r=abc,n=user',
    'n,,n=us=er,r=abc',
    'n,a=other,n=user,r=abc',
    'n,,m=1,n=user,r=abc',
    'n,,n=user,r=',
    'x'.repeat(5000),
    '\u0000',
  ];
  for (const first of firsts) {
    const conversation = await begin();
    test.same(await conversation.next(Buffer.from(first)), refused, JSON.stringify(first.slice(0, 30)));
  }
  const change: [string, (final: string) => string][] = [
    ['another nonce', (final) => final.replace('r=abc', 'r=abd')],
    ['another header', (final) => final.replace('c=biws', 'c=eSws')],
    ['no proof', (final) => final.replace(/,p=.*/, '')],
    ['a short proof', (final) => final.slice(0, -8)],
    ['another proof', (final) => final.replace(/p=.../, 'p=AAA')],
    ['nothing', () => ''],
  ];
  for (const [name, changed] of change) {
    const conversation = await begin();
    const first = dataOf(await conversation.next(Buffer.from('n,,n=user,r=abc')));
    const final = finalOf('n=user,r=abc', first, 'pencil');
    test.same(await conversation.next(Buffer.from(changed(final))), refused, name);
  }
  const conversation = await begin();
  const first = dataOf(await conversation.next(Buffer.from('n,,n=user,r=abc')));
  const wrong = finalOf('n=user,r=abc', first, 'crayon');
  test.same(await conversation.next(Buffer.from(wrong)), refused, 'a wrong password');
});

t.test('a name that nobody has looks like one that somebody has, the same on every node', async (test) => {
  const answers: string[] = [];
  for (const random of [exampleRandom, { ...exampleRandom, id: () => SERVER_NONCE }]) {
    const authentication = await authenticationOf(random);
    const conversation = authentication.mechanism('SCRAM-SHA-256')!.begin();
    const first = dataOf(await conversation.next(Buffer.from('n,,n=nobody,r=abc')));
    answers.push(first);
    test.match(first, /^r=abc.*,s=[A-Za-z0-9+/]{22}==,i=4096$/);
    const final = finalOf('n=nobody,r=abc', first, 'pencil');
    test.same(await conversation.next(Buffer.from(final)), { kind: 'refused', reasonCode: 0x87 });
  }
  test.equal(answers[0], answers[1]);
});

t.test('user name and password', async (test) => {
  const authentication = await authenticationOf(systemRandom);
  const check = (username: string | null, password: string | null) =>
    authentication.authenticate({ username, password: password === null ? null : Buffer.from(password) });
  test.equal(await check('user', 'pencil'), 0);
  test.equal(await check('user', 'pencil'), 0, 'and again, known by now');
  test.equal(await check('user', 'Pencil'), 0x86);
  test.equal(await check('user', null), 0x86);
  test.equal(await check('a,b=c', 'pa\u0308ss'), 0);
  test.equal(await check('nobody', 'pencil'), 0x86);
  test.equal(await check('__proto__', ''), 0x86);
  test.equal(await check(null, null), 0x87);
  const many = await Promise.all(
    Array.from({ length: 20 }, (_, index) => check('user', index % 2 === 0 ? 'pencil' : 'wrong')),
  );
  test.same(
    many,
    many.map((_, index) => (index % 2 === 0 ? 0 : 0x86)),
  );
  const users = [{ username: 'user', keys: await makeKeys('pencil', SALT, 4096) }];
  const lenient = new Authentication({ users, allowAnonymous: true, random: systemRandom });
  test.equal(await lenient.authenticate({ username: null, password: null }), 0);
  test.equal(await lenient.authenticate({ username: 'user', password: null }), 0x86);
  const open = new Authentication({ users: [], allowAnonymous: false, random: systemRandom });
  test.equal(await open.authenticate({ username: 'anybody', password: null }), 0);
  test.equal(open.mechanism('SCRAM-SHA-256'), undefined, 'nobody could use it');
});
