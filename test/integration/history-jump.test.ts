// Where a queue goes on when its store has lost its tail, at any time of the day: away from the packet identifiers that
// were given out behind where it and earlier jumps began. The script's own function, on times of the test.

import { readFileSync } from 'node:fs';
import t from 'tap';
import { projectFile } from '../helpers/command-line.ts';
import { startRedis } from '../helpers/redis-server.ts';

const include = (name: string): string =>
  readFileSync(projectFile(`src/store/redis/scripts/includes/${name}.lua`), 'utf8');

/** Three histories, A to B and back to A, at each of ARGV[2] times from ARGV[1] on; answers how near the ids came. */
const JOURNEYS = `
local now
local server = redis
local redis = { call = function(command, ...)
  if command == 'TIME' then return { math.floor(now), (now % 1) * 1000000 } end
  return server.call(command, ...)
end }
${include('session-state')}
${include('history-jump')}
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
