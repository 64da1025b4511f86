-- The runs that an id may mean: the active ones, and the newest, which is looked for among few at a time.
--   p.after: the run up to which the ones before this call have looked, and p.at its place in the order of starts
--   reply: {newest or '', run to go on after or '', its place, active...}
-- needs: arguments
demand({ id = 'string', family = 'string?', after = 'string?', at = 'string?' })
local LOOKS = 500
local active = redis.call('HGETALL', prefix .. 'active:' .. p.id)
local reply = { '', '', '' }
for i = 1, #active, 2 do
  if not p.family or cjson.decode(active[i + 1]).family == p.family then
    if redis.call('EXISTS', prefix .. 'run:' .. active[i]) == 1 then reply[#reply + 1] = active[i] end
  end
end
local index = prefix .. 'index:id:' .. p.id

-- From where the call before this one has come to: others may have come or gone since, that run as well.
local page, first, offset = nil, 1, 0
repeat
  page = redis.call('ZREVRANGEBYSCORE', index, p.at or '+inf', '-inf', 'WITHSCORES', 'LIMIT', offset, LOOKS)
  first, offset = 1, offset + LOOKS
  while p.after and page[first] and page[first + 1] == p.at and page[first] >= p.after do first = first + 2 end
until first <= #page or #page == 0
for i = first, #page, 2 do
  local family = redis.call('HGET', prefix .. 'run:' .. page[i], 'family')
  if not family then
    redis.call('ZREM', index, page[i]) -- its retention is over
  elseif not p.family or family == p.family then
    reply[1] = page[i]
    break
  end
end
if reply[1] == '' and #page == 2 * LOOKS then reply[2], reply[3] = page[#page - 1], page[#page] end
return reply
