-- Create a run, unless an active one holds its id within the scope.
-- Closes the race of two starts of one id: the check and the creation are one operation. Each start has a new run id, so
-- a repeated call is recognised, and gets the first answer again.
--   ARGV[3] header   ARGV[4] initial context   ARGV[5...] for each of p.firsts its config, or ''; then their messages
--   p.firsts: {key, most attempts, number of its list among KEYS[6...], number of its message}...; the last two only
--   where the broker is this server
--   p.settling: replaces p.firsts where there are very many first steps; see parts/joins.lua
--   reply: 'ok', 'posted' when all messages were sent too (or none may be, since the workflow is paused), or
--   {run id, family, scope} of the holder
-- needs: joins starts
demand({
  run_id = 'name', id = 'name', name = 'string', family = 'string', version = 'string', scope = 'string', tags = 'table',
  firsts = 'table', schema = 'number', lanes = 'table?', dispatch_timeout = 'number', settling = 'name?',
}, 4)
inside('tags', is_list(p.tags, is_text))
inside('lanes', p.lanes == nil or is_object(p.lanes, is_text))
inside('firsts', (#p.firsts > 0 or p.settling) and is_list(p.firsts, function(first)
  if not is_row(first, is_name, is_often) then return false end
  if #first == 2 then return true end
  return #first == 4 and is_count(first[3]) and is_count(first[4]) and KEYS[5 + first[3]] and ARGV[4 + #p.firsts + first[4]]
end))
demand({}, 4 + #p.firsts)
if redis.call('EXISTS', run) == 1 then return 'ok' end
if p.settling then check_staged(p.settling) end
local at = now()

local holder = find_holder()
if holder then return holder end

know_pause(false, p.family)
local moment = text(at)
fields = first_fields(ARGV[3], moment, 0, #p.firsts + (p.settling and 1 or 0))
set('i', ARGV[4])
local bytes = 0
for i, first in ipairs(p.firsts) do
  first.k, first.t = p.lanes and p.lanes[first[1]], sent_at(at)
  fields[#fields + 1] = 's:' .. first[1]
  fields[#fields + 1] = cjson.encode({
    s = 'active', a = 1, m = first[2], d = 1, q = moment, k = first.k, t = first.t, p = is_held() and UNSENT or nil,
  })
  if ARGV[4 + i] ~= '' then
    fields[#fields + 1] = 'c:' .. first[1]
    fields[#fields + 1] = '0|' .. ARGV[4 + i]
    bytes = bytes + #ARGV[4 + i]
  end
end
fields[#fields + 1] = 'sz'
fields[#fields + 1] = bytes
if #ARGV[4] > SMALL then
  fields[#fields + 1] = 'il'
  fields[#fields + 1] = 1
end
if p.settling then begin_settling('', p.settling, {}) end
write(fields)
make_known(moment)
if is_held() then -- its workflow is paused
  local entries = {}
  for _, first in ipairs(p.firsts) do
    entries[#entries + 1] = moment
    entries[#entries + 1] = first[1]
  end
  note_parked(entries)
  return 'posted'
end
for _, first in ipairs(p.firsts) do await_claim(first[1], first, at) end
local posted = true
for _, first in ipairs(p.firsts) do
  posted = first[3] and post(KEYS[5 + first[3]], ARGV[4 + #p.firsts + first[4]]) and posted
end
return posted and 'posted' or 'ok'
