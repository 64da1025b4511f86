-- Copies of a finished run under new names: every key that carries its run id, with its lifetime, and its entries in
-- sorted sets.
--   KEYS[1...] the template's own keys
--   ARGV[1] run id   ARGV[2] instance id   ARGV[3] JSON: its entries, {key, member, score} each
--   ARGV[4...] run id, instance id of each copy
local old_run, old_id = string.gsub(ARGV[1], '%-', '%%-'), ARGV[2]
local entries = cjson.decode(ARGV[3])

local function renamed(text, run, id)
  return (string.gsub(string.gsub(text, old_run, run), old_id, id))
end

local function flat(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then return 'HSET', redis.call('HGETALL', key) end
  if kind == 'list' then return 'RPUSH', redis.call('LRANGE', key, 0, -1) end
  if kind == 'string' then return 'SET', { redis.call('GET', key) } end
  error('a run keeps a ' .. kind .. ' in ' .. key .. ', which copies.lua does not know')
end

local templates = {}
for i, key in ipairs(KEYS) do
  local command, values = flat(key)
  templates[i] = { key = key, command = command, values = values, lifetime = redis.call('PTTL', key) }
end

for i = 4, #ARGV, 2 do
  local run, id = ARGV[i], ARGV[i + 1]
  for _, template in ipairs(templates) do
    local key, values = renamed(template.key, run, id), {}
    for j, value in ipairs(template.values) do values[j] = renamed(value, run, id) end
    redis.call(template.command, key, unpack(values))
    if template.lifetime > 0 then redis.call('PEXPIRE', key, template.lifetime) end
  end
  for _, entry in ipairs(entries) do
    redis.call('ZADD', renamed(entry[1], run, id), entry[3], renamed(entry[2], run, id))
  end
end
return #templates
