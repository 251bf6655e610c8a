// The entries of a run as buffers of their own, for tests that look at them: sessions read them where they lie.

import { entriesOffset, entrySize, type Run } from '../../src/store/inbox-run.ts';

export function entriesOf(run: Run): Buffer[] {
  let end = entriesOffset(run);
  return Array.from({ length: run.count }, (_none, index) => {
    const at = end;
    end += entrySize(run, index);
    return run.bytes.subarray(at, end);
  });
}
