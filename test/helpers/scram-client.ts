// The client's half of SCRAM-SHA-256 (RFC 7677), as a device has it that knows its password.

import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';

const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest();

/** The first message of a client; `bare` is what its proof is over. */
export function scramFirst(username: string, nonce = 'client-nonce'): { message: Buffer; bare: string } {
  const bare = `n=${username},r=${nonce}`;
  return { message: Buffer.from(`n,,${bare}`), bare };
}

/** Its last message, and what the server has to answer. */
export function scramFinal(
  bare: string,
  serverFirst: string,
  password: string,
  header = 'n,,',
): { message: Buffer; expected: string } {
  const [nonce, salt, iterations] = serverFirst.split(',') as [string, string, string];
  const salted = pbkdf2Sync(
    password.normalize('NFKC'),
    Buffer.from(salt.slice(2), 'base64'),
    Number(iterations.slice(2)),
    32,
    'sha256',
  );
  const clientKey = hmac(salted, 'Client Key');
  const storedKey = createHash('sha256').update(clientKey).digest();
  const withoutProof = `c=${Buffer.from(header).toString('base64')},${nonce}`;
  const authMessage = `${bare},${serverFirst},${withoutProof}`;
  const signature = hmac(storedKey, authMessage);
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]!)).toString('base64');
  const answer = hmac(hmac(salted, 'Server Key'), authMessage).toString('base64');
  return { message: Buffer.from(`${withoutProof},p=${proof}`), expected: `v=${answer}` };
}
