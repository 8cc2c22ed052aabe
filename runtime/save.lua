-- Writes a batch's effects and its new watermark together, or nothing.
--
-- KEYS: of each shard the marks hash; then of each the generation that serves; then of each the
--       hold; then every key an operation names.
-- ARGV: number of shards, mark field, clock field, clock in ms (0: leave it), our generation,
--       expected mark of each shard, new mark of each shard, then operations: a letter, the index of
--       its key, arguments.
-- Returns '' when written, else why not.

local shards = tonumber(ARGV[1])
local field = ARGV[2]
local generation = ARGV[5]

for _, serving in ipairs(redis.call('MGET', unpack(KEYS, shards + 1, 2 * shards))) do
  if (serving or '1') ~= generation then
    return 'generation ' .. (serving or '1') .. ' serves, not ' .. generation
  end
end
for _, hold in ipairs(redis.call('MGET', unpack(KEYS, 2 * shards + 1, 3 * shards))) do
  if hold and hold ~= generation then
    return 'generation ' .. hold .. ' takes over'
  end
end
for shard = 1, shards do
  local stored = redis.call('HGET', KEYS[shard], field) or ''
  local expected = ARGV[5 + shard]
  if stored ~= expected then
    return 'expected watermark ' .. expected .. ', Redis holds ' .. stored
  end
end

local at = 6 + 2 * shards
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
  elseif operation == 'H' then
    redis.call('HSET', key, ARGV[at + 2], ARGV[at + 3])
    at = at + 4
  elseif operation == 'T' then
    redis.call('ZREMRANGEBYRANK', key, 0, -1 - tonumber(ARGV[at + 2]))
    at = at + 3
  else
    return redis.error_reply('unknown operation ' .. operation)
  end
end

for shard = 1, shards do
  redis.call('HSET', KEYS[shard], field, ARGV[5 + shards + shard])
  if ARGV[4] ~= '0' then
    redis.call('HSET', KEYS[shard], ARGV[3], ARGV[4])
  end
end
return ''
