// What a row of the conformance table is. The statements themselves lie in statements-*.ts by version and chapter; which
// test proves which is read from the tests (proofs.ts). An id stands here as the sources cite it: [MQTT-...] is a
// statement of MQTT 3.1.1, [MQTT5-...] one of MQTT 5, since both documents number theirs alike.

/** Identifier, the statement in our words, and, where no test can prove it, the reason why. */
export type StatementRow = readonly [id: string, text: string, reason?: string];

export interface Statement {
  /** `MQTT-3.1.2-24` or `MQTT5-3.1.2-22`. */
  readonly id: string;
  readonly version: '3.1.1' | '5';
  readonly text: string;
  /** Why no test can prove it; undefined where one must. */
  readonly reason: string | undefined;
}

/** Reason of the statements that a server cannot break, whatever it does. */
export const CLIENT_ONLY = 'Binds the client: nothing a server does can keep or break it.';

export function statementsOf(rows: readonly StatementRow[]): Statement[] {
  return rows.map(([id, text, reason]) => ({
    id,
    version: id.startsWith('MQTT5-') ? '5' : '3.1.1',
    text,
    reason,
  }));
}
