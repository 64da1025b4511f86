-- The runs that an id may mean.   reply: {newest or '', active...}
local active = redis.call('HGETALL', prefix .. 'active:' .. p.id)
local reply = { '' }
for i = 1, #active, 2 do
  if not p.family or cjson.decode(active[i + 1]).family == p.family then
    if redis.call('EXISTS', prefix .. 'run:' .. active[i]) == 1 then reply[#reply + 1] = active[i] end
  end
end
local index = prefix .. 'index:id:' .. p.id
local from = 0
while reply[1] == '' do
  local page = redis.call('ZREVRANGE', index, from, from + 99)
  if #page == 0 then break end
  for _, candidate in ipairs(page) do
    local family = redis.call('HGET', prefix .. 'run:' .. candidate, 'family')
    if not family then
      redis.call('ZREM', index, candidate) -- its retention is over
    elseif not p.family or family == p.family then
      reply[1] = candidate
      break
    else
      from = from + 1
    end
  end
end
return reply
