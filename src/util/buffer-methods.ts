// Node's buffers have single-encoding methods that skip the dispatch on an encoding name; they are long-standing and
// stable but missing from the type definitions. Declared here for the paths where that dispatch shows in a profile. The same paths
// import Buffer (and performance): as globals they are getters, called at each use.

declare global {
  interface Buffer {
    latin1Slice(start?: number, end?: number): string;
    utf8Slice(start?: number, end?: number): string;
    /** Answers the bytes written. */
    latin1Write(text: string, offset?: number, length?: number): number;
    /** Answers the bytes written. */
    utf8Write(text: string, offset?: number, length?: number): number;
  }
}

export {};
