-- Pause a run, or let it go on (p.paused): none of its steps is claimed while it is paused.
-- Closes the race with a claim, a commit or a timer: each of them looks at the pause in its own script. A run that is paused
-- has a schema number that older code does not read, since that would go on with it.
--   ARGV[3] history entry   ARGV[4] who does it, as JSON
--   reply: names and values: `verdict` ('unknown_run', 'newer_schema', 'ended', 'unchanged', 'changed'). With 'newer_schema'
--   comes `schema`, its number. With 'changed' come `facts`, `start`, and `run`: the run's fields (see carried), packed
-- needs: answers run_reply release stream
demand({ run_id = 'name', op = 'string', schema = 'number', paused = 'boolean', raised = 'number', dispatch_timeout = 'number' }, 4)
local core = redis.call('HMGET', run, 'st', 'schema', 'pa', 'family', 'sz', 'il')
local status, before = core[1], core[3]
if not status then return { 'verdict', 'unknown_run' } end
if is_newer(core[2]) then return { 'verdict', 'newer_schema', 'schema', core[2] } end
local facts = replayed(p.run_id, p.op)
if not facts then
  if is_final(status) then return { 'verdict', 'ended' } end
  if p.paused == (before ~= false) then return { 'verdict', 'unchanged' } end
  local at = now()
  local sequence = redis.call('HINCRBY', run, 'seq', 1)
  remember(sequence, '', nil, nil, text(at), ARGV[3])
  tell(p.paused and 'pause' or 'unpause', sequence, 1, at, ARGV[3])
  if p.paused then
    local schema = core[2] or '1'
    redis.call('HSET', run, 'pa', text(at) .. '|' .. schema .. '|' .. ARGV[4], 'schema', math.max(p.raised, tonumber(schema)))
  else
    clear_pause(before)
    know_pause(false, core[4])
    if not is_held() then
      release_run()
      redis.call('PUBLISH', prefix .. 'wake', '1')
    elseif redis.call('EXISTS', parked()) == 1 then
      redis.call('ZADD', parked_runs(core[4]), 'NX', text(at), p.run_id) -- its workflow still holds it
    end
  end
  facts = replay(p.run_id, p.op, cjson.encode({ seq = sequence }))
end
local fields = carried(core[5], core[6], {})
add_workflow_pause(fields, status, core[4])
return { 'verdict', 'changed', 'facts', facts, 'start', read_start(), 'run', packed(fields) }
