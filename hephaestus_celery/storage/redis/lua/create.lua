-- Create a run, unless an active one holds its id within the scope.
-- Closes the race of two starts of one id: the check and the creation are one operation. Each start has a new run id, so
-- a repeated call is recognised, and gets the first answer again.
--   ARGV[3] header   ARGV[4] initial context   ARGV[5...] for each of p.firsts its config, or ''; then their messages
--   p.firsts: {key, most attempts, number of its list among KEYS[6...], number of its message}...; the last two only
--   where the broker is this server
--   p.settling: replaces p.firsts where there are very many first steps; see parts/joins.lua
--   p.deadline: in microseconds from the start, where it has one
--   reply: 'ok', 'posted' when all messages were sent too (or none may be, since the workflow is paused), or
--   {run id, family, scope} of the holder
-- needs: creation
demand({
  run_id = 'name', id = 'name', name = 'string', family = 'string', version = 'string', scope = 'string', tags = 'table',
  firsts = 'table', schema = 'number', lanes = 'table?', dispatch_timeout = 'number', settling = 'name?', deadline = 'number?',
  undo = 'boolean?',
}, 4)
inside('tags', is_list(p.tags, is_text))
inside('deadline', p.deadline == nil or p.deadline > 0)
inside('lanes', p.lanes == nil or is_object(p.lanes, is_text))
inside('firsts', (#p.firsts > 0 or p.settling) and are_firsts(p.firsts, 4 + #p.firsts))
demand({}, 4 + #p.firsts)
if redis.call('EXISTS', run) == 1 then return 'ok' end
if p.settling then check_staged(p.settling) end
return create(3, now())
