-- Writes a batch's effects and its new watermark together, or nothing.
--
-- KEYS: the marks hash of each shard, then every key an operation names.
-- ARGV: number of shards, mark field, clock field, clock in ms (0: leave it), expected mark of each
--       shard, new mark of each shard, then operations: a letter, the index of its key, arguments.
-- Returns {} when written; the stored marks when any of them is not the expected one.

local shards = tonumber(ARGV[1])
local field = ARGV[2]

local function stored_mark(shard)
  return redis.call('HGET', KEYS[shard], field) or ''
end

for shard = 1, shards do
  if stored_mark(shard) ~= ARGV[4 + shard] then
    local stored = {}
    for other = 1, shards do
      stored[other] = stored_mark(other)
    end
    return stored
  end
end

local at = 5 + 2 * shards
while at <= #ARGV do
  local operation = ARGV[at]
  local key = KEYS[tonumber(ARGV[at + 1])]
  if operation == 'S' then
    redis.call('SET', key, ARGV[at + 2])
    at = at + 3
  elseif operation == 'X' then
    redis.call('SET', key, ARGV[at + 2], 'PX', ARGV[at + 3])
    at = at + 4
  elseif operation == 'D' then
    redis.call('DEL', key)
    at = at + 2
  elseif operation == 'Z' then
    redis.call('ZADD', key, ARGV[at + 2], ARGV[at + 3])
    at = at + 4
  elseif operation == 'R' then
    redis.call('ZREM', key, ARGV[at + 2])
    at = at + 3
  elseif operation == 'T' then
    redis.call('ZREMRANGEBYRANK', key, 0, -1 - tonumber(ARGV[at + 2]))
    at = at + 3
  else
    return redis.error_reply('unknown operation ' .. operation)
  end
end

for shard = 1, shards do
  redis.call('HSET', KEYS[shard], field, ARGV[4 + shards + shard])
  if ARGV[4] ~= '0' then
    redis.call('HSET', KEYS[shard], ARGV[3], ARGV[4])
  end
end
return {}
