-- Create several runs that are alike, in the order given: each as create.lua does, by itself, in a part of the time.
-- A repeated call gets 'ok' for each run that is there. If a run can't be stored, those after it are left to later calls.
--   p.runs: {run id, id, headers of its messages or ''}...   p.firsts and all others: as for create.lua, the same for each run
--   ARGV[3...] for each run what create.lua takes from ARGV[3] on; `p.size` is the number of these
--   reply: for each run the reply of create.lua in a list, or {'failed', error}, or {'left'}
-- needs: creation
demand({
  runs = 'table', size = 'number', name = 'string', family = 'string', version = 'string', scope = 'string', tags = 'table',
  firsts = 'table', schema = 'number', lanes = 'table?', dispatch_timeout = 'number', deadline = 'number?', undo = 'boolean?',
}, 2)
inside('runs', is_list(p.runs, function(row) return is_row(row, is_run_id, is_name, is_text) end))
inside('tags', is_list(p.tags, is_text))
inside('deadline', p.deadline == nil or p.deadline > 0)
inside('lanes', p.lanes == nil or is_object(p.lanes, is_text))
inside('size', p.size >= 2 + #p.firsts)
demand({}, 2 + p.size * #p.runs)
for i = 1, #p.runs do -- of each run alike
  inside('firsts', #p.firsts > 0 and are_firsts(p.firsts, 2 + p.size * (i - 1) + 2 + #p.firsts))
  if i == 1 then inside('size', #ARGV == 2 + p.size * #p.runs) end
end
p.settling = nil -- such a run is created alone
local began, found, failed = now(), {}, false
for i, row in ipairs(p.runs) do
  if failed then
    found[i] = { 'left' }
  else
    at_run(row[1])
    p.id, p.headers = row[2], row[3] ~= '' and row[3] or nil
    -- A microsecond later than the one before, so that their order shows: each takes longer than that.
    local ran, reply = true, 'ok'
    if redis.call('EXISTS', run) == 0 then ran, reply = pcall(create, 3 + p.size * (i - 1), began + i - 1) end
    if not ran then
      failed, reply = true, { 'failed', type(reply) == 'table' and reply.err or tostring(reply) }
    end
    found[i] = type(reply) == 'table' and reply or { reply }
  end
end
return found
