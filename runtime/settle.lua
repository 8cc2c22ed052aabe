-- Moves one delivery to its next state, unless somebody else has changed it meanwhile.
--
-- KEYS: the row; its channel's queue; the held; those for a digest; the log; the log of its channel
--       and state to be; that of its channel and state as it was.
-- ARGV: the row as we know it ('' for none), the row as it is to be, its lifetime in ms (0: for
--       ever), its place (0: none, 1: queue, 2: held, 3: digest), due in ms, the row's id, time of
--       the change in ms, how many rows the log keeps.
-- Returns 1 when written.

if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
for place = 1, 3 do
  if tostring(place) == ARGV[4] then
    redis.call('ZADD', KEYS[1 + place], ARGV[5], ARGV[6])
  else
    redis.call('ZREM', KEYS[1 + place], ARGV[6])
  end
end
if KEYS[7] ~= KEYS[6] then
  redis.call('ZREM', KEYS[7], ARGV[6])
end
for log = 5, 6 do
  redis.call('ZADD', KEYS[log], ARGV[7], ARGV[6])
  redis.call('ZREMRANGEBYRANK', KEYS[log], 0, -1 - tonumber(ARGV[8]))
end
return 1
