-- The runs of messages that a call puts into the inboxes of their owners (inbox-run.ts), in the same step that queues them.
--- @include "append-inbox"
local MOST_PIECES = 3000
-- Of each node, by its number in the call: the entries for its inbox, as lists of pieces.
local runs = {}

-- `args` holds the values behind their seqs, as HSET takes them.
local function add_run(node, first, head, args, count)
  local entries = runs[node] or {}
  local pieces = entries[#entries]
  if not pieces or #pieces > MOST_PIECES then
    pieces = {}
    entries[#entries + 1], runs[node] = pieces, entries
  end
  local size = #pieces
  pieces[size + 1] = struct.pack('>Bd', 9, first) .. head
  for index = 1, count do pieces[size + 1 + index] = args[2 * index] end
end

-- Keys of the call: from the second on, of each node inbox and inbox state.
local function append_runs(node_count, max_bytes)
  for node = 1, node_count do
    local entries = runs[node]
    for _, pieces in ipairs(entries or {}) do
      if #pieces % 2 == 1 then pieces[#pieces + 1] = '' end
    end
    if entries then append_inbox(KEYS[2 * node], KEYS[2 * node + 1], max_bytes, entries) end
  end
end
