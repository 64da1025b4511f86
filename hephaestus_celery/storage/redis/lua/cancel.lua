-- Cancel a run: it ends at once, and its steps start nothing more. With p.compensate it undoes first what has completed.
-- Steps that are being executed go on, but their commits will be discarded. Closes the race with a commit that ends the
-- run: the run ends once.
--   ARGV[3] history entry   ARGV[4] reason as JSON, or ''
--   reply: names and values: `verdict` ('unknown_run', 'newer_schema', 'stale', 'applied'). With 'newer_schema' comes
--   `schema`, its number; with 'stale' `status`. With 'applied' come `facts`, `start`, and `run`: the run's fields (see
--   carried), packed; with p.brief those alone that say which run it is
-- needs: undoing stream
demand({ run_id = 'name', op = 'string', schema = 'number', retention = 'number', brief = 'boolean?',
  compensate = 'boolean?', dispatch_timeout = 'number?' }, 4)
local core = redis.call('HMGET', run, 'st', 'schema', 'un', 'ue')
local status = core[1]
if not status then return { 'verdict', 'unknown_run' } end
if is_newer(core[2]) then return { 'verdict', 'newer_schema', 'schema', core[2] } end
local facts = answered('|cancel', p.op)
if not facts then
  if is_final(status) or (p.compensate and core[4]) then return { 'verdict', 'stale', 'status', status } end
  local at = now()
  local sequence = redis.call('HINCRBY', run, 'seq', 1)
  if ARGV[4] ~= '' then redis.call('HSET', run, 'cr', ARGV[4]) end
  remember(sequence, '', nil, nil, text(at), ARGV[3])
  local after, _, _, key = stop(status, 'cancelled', p.compensate and core[3], at)
  local begins = not is_final(after)
  tell('cancel', sequence, 1, at, ARGV[3], p.stream and { start = read_start(), begins = begins and '1' or nil })
  facts = answer('|cancel', p.op, with_next({ seq = sequence }, key), not begins)
end
local fields
if p.brief then
  local names = { 'h', 'schema', 'st', 't0', 't1', 'act', 'app', 'seq', 'fs', 'f', 'cr', 'mh', 'dl' }
  local values = redis.call('HMGET', run, unpack(names))
  fields = { 'lk', 'sd' }
  for i, name in ipairs(names) do
    if values[i] then
      fields[#fields + 1] = name
      fields[#fields + 1] = values[i]
    end
  end
else
  local size = redis.call('HMGET', run, 'sz', 'il')
  fields = carried(size[1], size[2], {})
end
return { 'verdict', 'applied', 'facts', facts, 'start', read_start(), 'run', packed(fields) }
