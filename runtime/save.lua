-- Writes the effects of batches and their new watermarks together, each batch or nothing of it.
--
-- KEYS: of each shard the marks hash; then of each the generation that serves; then of each the
--       hold; then the keys of each operation in turn.
-- ARGV: number of shards, our generation, and the parts in msgpack, one string to send and to
--       receive. A part is the batch of one partition: {mark field, clock field, clock in ms as text
--       ('0': leave it), expected mark of each shard, new mark of each shard, operations}, an
--       operation {letter, number of its keys, its arguments}.
-- Returns of each part '' when written, else why not. They are done in turn: a part that is refused
-- leaves the others as they are.
--
-- An operation has at most some thousand keys and arguments (`ledger.AT_ONCE`): `unpack` puts them
-- on Lua's stack, which ends at 8,000.

local shards = tonumber(ARGV[1])
local generation = ARGV[2]
local parts = cmsgpack.unpack(ARGV[3])
local told = {}

local function refuse_all(reason)
  for i = 1, #parts do
    told[i] = reason
  end
  return told
end

for _, serving in ipairs(redis.call('MGET', unpack(KEYS, shards + 1, 2 * shards))) do
  if (serving or '1') ~= generation then
    return refuse_all('generation ' .. (serving or '1') .. ' serves, not ' .. generation)
  end
end
for _, hold in ipairs(redis.call('MGET', unpack(KEYS, 2 * shards + 1, 3 * shards))) do
  if hold and hold ~= generation then
    return refuse_all('generation ' .. hold .. ' takes over')
  end
end

local fields, held = {}, {}
for i, part in ipairs(parts) do
  fields[i] = part[1]
end
for shard = 1, shards do
  held[shard] = {}
  for i, mark in ipairs(redis.call('HMGET', KEYS[shard], unpack(fields))) do
    held[shard][fields[i]] = mark or ''
  end
end

local function do_to(operation, before)
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
    error('unknown operation ' .. letter)
  end
end

local before = 3 * shards -- keys named so far
for i, part in ipairs(parts) do
  local field, clock_field, clock, expected_marks, new_marks, operations = unpack(part)
  told[i] = ''
  for shard = 1, shards do
    local stored, expected = held[shard][field], expected_marks[shard]
    if stored ~= expected then
      told[i] = 'expected watermark ' .. expected .. ', Redis holds ' .. stored
      break
    end
  end
  for _, operation in ipairs(operations) do
    if told[i] == '' then
      do_to(operation, before)
    end
    before = before + operation[2]
  end
  if told[i] == '' then
    for shard = 1, shards do
      held[shard][field] = new_marks[shard] -- for another part about the same partition
      if clock == '0' then
        redis.call('HSET', KEYS[shard], field, new_marks[shard])
      else
        redis.call('HSET', KEYS[shard], field, new_marks[shard], clock_field, clock)
      end
    end
  end
end
return told
