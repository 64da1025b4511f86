-- Read the event stream for a consumer of a group.
-- It gets new entries, its own that it has not acknowledged, or those of consumers that are gone. A new group begins with the
-- oldest entry that is kept.
-- Closes the race of two consumers and of the cap: this script sees what the group had read and what it reads now, so exactly
-- one consumer learns of entries that the cap has taken in between.
--   p.after: read the consumer's own after this id   p.idle, p.from: take over what was handed out so many milliseconds ago,
--   from this id on; without these, new ones are read
--   reply: {id of the newest entry, where to go on with taking over or ''}, then for each entry its id, `c` and `d` (both ''
--   where the cap has taken it since), the id that the group had read before a gap in front of it, or '', and the places of
--   those of its events that are acknowledged, as `0,2`
-- Mirrors core/execution/stream_groups.py.
-- needs: stream time
demand({
  group = 'string', consumer = 'string', limit = 'number', after = 'string?', idle = 'number?', from = 'string?',
})
local gaps, acked, used = prefix .. 'events:gaps', prefix .. 'events:acked', prefix .. 'events:used'

local function by_name(values)
  local found = {}
  for i = 1, #values, 2 do found[values[i]] = values[i + 1] end
  return found
end

local function groups()
  local found = {}
  local replied = redis.call('EXISTS', stream_key()) == 1 and redis.call('XINFO', 'GROUPS', stream_key()) or {}
  for i, group in ipairs(replied) do found[i] = by_name(group) end
  return found
end

local function count_of(entry) return tonumber(cjson.decode(entry[2][2])[6]) end

-- The id that the group has read. A new group has read what comes before the oldest entry.
local function read_by(group)
  for _, found in ipairs(groups()) do
    if found.name == group then return found['last-delivered-id'] end
  end
  local oldest = redis.call('XRANGE', stream_key(), '-', '+', 'COUNT', 1)[1]
  local read = '0-0'
  if oldest then
    local ms, number = place_of(oldest[1])
    read = text(ms) .. '-' .. text(number - count_of(oldest))
  end
  redis.call('XGROUP', 'CREATE', stream_key(), group, read, 'MKSTREAM')
  return read
end

local function about(id) return p.group .. ' ' .. id end

local function read_group(from)
  local found = redis.call('XREADGROUP', 'GROUP', p.group, p.consumer, 'COUNT', p.limit, 'STREAMS', stream_key(), from)
  return found and found[1] and found[1][2] or {}
end

local function read_new(read)
  local entries = read_group('>')
  if entries[1] then
    local _, number = place_of(entries[1][1])
    local _, before = place_of(read)
    if number - count_of(entries[1]) > before then redis.call('HSET', gaps, about(entries[1][1]), read) end
  end
  return entries
end

local function take_over()
  local found = redis.call('XAUTOCLAIM', stream_key(), p.group, p.consumer, p.idle, p.from, 'COUNT', p.limit, 'JUSTID')
  local entries = {}
  for _, ids in ipairs({ found[2], found[3] or {} }) do -- newer servers list those that are gone apart
    for _, id in ipairs(ids) do
      entries[#entries + 1] = redis.call('XRANGE', stream_key(), id, id)[1] or { id, false }
    end
  end
  return entries, found[1] ~= '0-0' and found[1] or ''
end

-- Forget a group. What it was handed goes in slices: a group that acknowledged nothing may have been handed very much.
local function forget(group)
  local handed = redis.call('XPENDING', stream_key(), group, '-', '+', UNPACKED)
  if #handed == UNPACKED then
    local ids = {}
    for i, entry in ipairs(handed) do ids[i] = entry[1] end
    redis.call('XACK', stream_key(), group, unpack(ids))
    return false
  end
  redis.call('XGROUP', 'DESTROY', stream_key(), group)
  redis.call('HDEL', used, group)
  for _, key in ipairs({ gaps, acked }) do
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if string.sub(field, 1, #group + 1) == group .. ' ' then redis.call('HDEL', key, field) end
    end
  end
  return true
end

-- Once an hour: note that this group is used, and forget others that are not, and consumers that hold nothing.
local function tidy_up()
  local at = math.floor(now() / MILLISECOND)
  local noted = redis.call('HGET', used, p.group)
  if noted and at - noted < HOUR then return end
  for _, group in ipairs(groups()) do
    local last = group.name == p.group and at or tonumber(redis.call('HGET', used, group.name) or '')
    if not last then redis.call('HSET', used, group.name, text(at))
    elseif at - last > GROUPS_LIFETIME and not forget(group.name) then return end
  end
  for _, values in ipairs(redis.call('XINFO', 'CONSUMERS', stream_key(), p.group)) do
    local consumer = by_name(values)
    if consumer.pending == 0 and consumer.idle > HOUR and consumer.name ~= p.consumer then
      redis.call('XGROUP', 'DELCONSUMER', stream_key(), p.group, consumer.name)
    end
  end
  redis.call('HSET', used, p.group, text(at))
end

local read = read_by(p.group)
tidy_up()
local entries, cursor = nil, ''
if p.idle then entries, cursor = take_over()
elseif p.after then entries = read_group(p.after)
else entries = read_new(read) end

local newest = redis.call('XREVRANGE', stream_key(), '+', '-', 'COUNT', 1)[1]
local reply = { newest and newest[1] or '0-0', cursor }
local missed, partly = redis.call('EXISTS', gaps) == 1, redis.call('EXISTS', acked) == 1
local function noted(key, exists, id) return exists and redis.call('HGET', key, about(id)) or '' end
for _, entry in ipairs(entries) do
  local fields = entry[2] or { 'c', '', 'd', '' }
  local gap, places = noted(gaps, missed, entry[1]), noted(acked, partly, entry[1])
  for _, part in ipairs({ entry[1], fields[2], fields[4], gap, places }) do reply[#reply + 1] = part end
end
return reply
