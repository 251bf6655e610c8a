// Where a queue goes on when its store has lost its tail, at any time of the day: away from the packet identifiers that
// were given out behind where it and earlier jumps began. The script's own function, on times of the test.

import { readFileSync } from 'node:fs';
import t from 'tap';
import { projectFile } from '../helpers/command-line.ts';
import { startRedis } from '../helpers/redis-server.ts';

const include = (name: string): string =>
  readFileSync(projectFile(`src/store/redis/scripts/includes/${name}.lua`), 'utf8');

/** The function, on the time `now`. */
const ON_ANY_TIME = `
local now
local server = redis
local redis = { call = function(command, ...)
  if command == 'TIME' then return { math.floor(now), (now % 1) * 1000000 } end
  return server.call(command, ...)
end }
${include('session-state')}
${include('history-jump')}
`;

/** Three histories, A to B and back to A, at each of ARGV[2] times from ARGV[1] on; answers how near the ids came. */
const JOURNEYS = `
${ON_ANY_TIME}
local nearest, most_holes = 65535, 0
for journey = 1, tonumber(ARGV[2]) do
  server.call('DEL', KEYS[1])
  now = tonumber(ARGV[1]) + journey * 0.05
  local begins, tail, head = { 0 }, 0, 1
  for step = 1, 3 do
    tail, head = jump_history(KEYS[1], tostring(step), 1, 1, head, tail, 0, 0, 0, 0, 0, 0)
    for _, begin in ipairs(begins) do
      local apart = (tail - begin) % 65535
      nearest = math.min(nearest, apart, 65535 - apart)
    end
    begins[#begins + 1] = tail
    -- All of it is acknowledged on the second step only.
    tail = tail + 3
    if step == 2 then head = tail + 1 end
    now = now + 2 + journey % 7
  end
  most_holes = math.max(most_holes, #server.call('HGET', KEYS[1], 'b'))
end
return { nearest, most_holes }
`;

t.test('a jump keeps away from where those before it began, whenever it comes', async (t) => {
  const redis = await startRedis(t);
  for (const from of [1_763_900_000, 1_795_435_561, 1_893_456_000]) {
    const answer = (await redis.command('EVAL', JOURNEYS, 1, 'k', from, 20_000)) as [number, number];
    t.ok(answer[0] > 4000, `${answer[0]} identifiers between, from ${from} on`);
    t.ok(answer[1] <= 64, `${answer[1]} characters: the record stays compact`);
  }
});

/**
 * At each of ARGV[2] times from ARGV[1] on, a jump from ARGV[3] that is lost again, and others from the same state ARGV[4]
 * times a twentieth of a second later each; answers how near their numbers and ids came.
 */
const LOST_JUMPS = `
${ON_ANY_TIME}
local nearest, nearest_id = math.huge, 65535
for journey = 1, tonumber(ARGV[2]) do
  local begin, tails = tonumber(ARGV[3]) + 7919 * journey, {}
  for step = 1, tonumber(ARGV[4]) do
    now = tonumber(ARGV[1]) + (journey + step + 0.2) * 0.05
    server.call('DEL', KEYS[1])
    local tail = jump_history(KEYS[1], 'x', 1, 1, 1, begin, 0, 0, 0, 0, 0, 0)
    for _, other in ipairs(tails) do
      local apart = (tail - other) % 65535
      nearest = math.min(nearest, math.abs(tail - other))
      nearest_id = math.min(nearest_id, apart, 65535 - apart)
    end
    tails[#tails + 1] = tail
  end
end
return { nearest, nearest_id }
`;

t.test('jumps that were lost, and come again from the same place, lead elsewhere', async (t) => {
  const redis = await startRedis(t);
  const now = 1_795_435_561;
  // Also where another master's clock has brought the queue beyond the time.
  for (const from of [1, 5e12, 5e15]) {
    const answer = (await redis.command('EVAL', LOST_JUMPS, 1, 'k', now, 500, from, 20)) as [number, number];
    t.ok(answer[0] > 8000, `${answer[0]} numbers between, from ${from} on`);
    t.ok(answer[1] > 400, `${answer[1]} identifiers between, from ${from} on`);
  }
});
