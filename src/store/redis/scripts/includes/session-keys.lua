-- The keys of one session, the same list for each script that claims, ends or changes one (keyspace.ts, SESSION_KEYS).
-- Fields of META: s state (includes/session-state.lua), i owner's incarnation ('' nobody), o holes "from-to,...",
-- y and f the run that a full queue dropped, r rev of the row, v version of its last log entry, p its log entry may be missing, x expiry in seconds, z highest seq sent at a clean
-- release (-1 unknown), b where the last jumps of the seqs began, m last mid, d when the session expires and u when its will is due (ms, 0 never), q a reading of
-- retained messages is under way, k token and answer of the last script that must not run twice, n tokens of the last
-- claims, a when the CONNECT of the last one came (ms), w when the last claim was repeated (ms), j messages of shared
-- subscriptions came, g which seqs in runs stand for PUBREL markers (includes/released-range.lua).
local META, QUEUE, MARKS, NOTES, INBOUND = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ORPHANS, HELD = KEYS[6], KEYS[7]
local ROWS, WILLS, READINGS, DUE, TAKEN = KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local TAKEN_AT, MARKED, COUNTS, ORPHANED = KEYS[13], KEYS[14], KEYS[15], KEYS[16]
