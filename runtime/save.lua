-- Writes a batch's effects and its new watermark together, or nothing.
--
-- KEYS: of each shard the marks hash; then of each the generation that serves; then of each the
--       hold; then the keys of each operation in turn.
-- ARGV: number of shards, mark field, clock field, clock in ms (0: leave it), our generation,
--       expected mark of each shard, new mark of each shard, and last the operations in msgpack, a
--       list of {letter, number of its keys, its arguments}: one string to send and to receive.
-- Returns '' when written, else why not.
--
-- An operation has at most some thousand keys and arguments (`ledger.AT_ONCE`): `unpack` puts them
-- on Lua's stack, which ends at 8,000.

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

local before = 3 * shards -- keys named so far
for _, operation in ipairs(cmsgpack.unpack(ARGV[6 + 2 * shards])) do
  local letter, count, arguments = unpack(operation)
  local key = KEYS[before + 1]
  if letter == 'S' then
    local both = {}
    for i, value in ipairs(arguments) do
      both[2 * i - 1], both[2 * i] = KEYS[before + i], value
    end
    redis.call('MSET', unpack(both))
  elseif letter == 'X' then
    for i = 1, count do
      redis.call('SET', KEYS[before + i], arguments[i + 1], 'PX', arguments[1])
    end
  elseif letter == 'D' then
    redis.call('DEL', unpack(KEYS, before + 1, before + count))
  elseif letter == 'Z' then
    redis.call('ZADD', key, unpack(arguments))
  elseif letter == 'R' then
    redis.call('ZREM', key, unpack(arguments))
  elseif letter == 'H' then
    redis.call('HSET', key, unpack(arguments))
  elseif letter == 'F' then
    redis.call('HDEL', key, unpack(arguments))
  elseif letter == 'T' then
    redis.call('ZREMRANGEBYRANK', key, 0, -1 - arguments[1])
  elseif letter == 'L' then
    local keep = arguments[1]
    -- By a quarter more, or every value would cost a trim.
    if redis.call('RPUSH', key, unpack(arguments, 3)) >= keep * 1.25 then
      redis.call('LTRIM', key, -keep, -1)
    end
    -- Asking is cheap, writing is not: of twice the lifetime half is always left.
    if redis.call('PTTL', key) < arguments[2] then
      redis.call('PEXPIRE', key, 2 * arguments[2])
    end
  else
    return redis.error_reply('unknown operation ' .. letter)
  end
  before = before + count
end

for shard = 1, shards do
  redis.call('HSET', KEYS[shard], field, ARGV[5 + shards + shard])
  if ARGV[4] ~= '0' then
    redis.call('HSET', KEYS[shard], ARGV[3], ARGV[4])
  end
end
return ''
