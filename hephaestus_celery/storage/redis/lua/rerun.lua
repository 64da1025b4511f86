-- Make a run of an earlier one, by a retry or a fork.
-- Closes the races of two retries of one run, and of a retry with a start of the id, or with the end of the earlier run's
-- retention: it is checked, marked and left behind in one operation. A small run is copied whole by this script. Of a larger
-- one, copy.lua copies the rest in slices, and its steps start in the last of them. Each call has a new run id, so a
-- repeated call is recognised.
-- Mirrors core/execution/reruns.py.
--   KEYS: those of the new run   p.source: the earlier run   p.retry: a retry, so of the same id
--   p.apart: the earlier run is in another partition, and hold.lua has checked and marked it
--   p.left: how many compensations of the earlier run had not begun when it was read, if it undid what had completed
--   p.active: how many steps are active   p.rows: how many rows follow; or p.staged: where they are staged
--   ARGV[3] header   ARGV[4] initial context, or '' for that of the earlier run   ARGV[5] history entry   ARGV[6...] rows
--   (see parts/copying.lua); then the messages of p.prepared
--   reply: {'posted'}, {'ok'} where messages are to be sent, {'copying'} where more is to be copied. Or a refusal:
--   {'gone'}, {'newer', schema}, {'partial'}, {'retried', run, status or ''}, {'active'}, {'completed'}, {'compensating'}, {'held', run id,
--   family, scope}
-- needs: copying starts stream
demand({
  run_id = 'name', source = 'name', id = 'name', name = 'string', family = 'string', version = 'string', scope = 'string',
  tags = 'table', schema = 'number', reads = 'number', active = 'number', rows = 'number', dispatch_timeout = 'number',
  retry = 'boolean?', left = 'number?', apart = 'boolean?', staged = 'name', prepared = 'table?', headers = 'string?', deadline = 'number?',
}, 5)
demand({}, 5 + p.rows)
inside('tags', is_list(p.tags, is_text))
inside('deadline', p.deadline == nil or p.deadline > 0)
demand_prepared(5 + p.rows)
if redis.call('EXISTS', run) == 1 then
  return { redis.call('HEXISTS', run, 'cp') == 1 and 'copying' or 'ok' }
end

local at = now()
local earlier = prefix .. 'run:' .. p.source
local core = {}
if not p.apart then
  core = redis.call('HMGET', earlier, 'st', 'id', 'schema', 'cp', 'ra', 'i', 'en', 'ek', 'ul')
  if not core[1] then return { 'gone' } end
  if core[3] and tonumber(core[3]) > p.reads then return { 'newer', core[3] } end
  if p.retry and core[5] then
    return { 'retried', core[5], redis.call('HGET', prefix .. 'run:' .. core[5], 'st') or '' }
  end
  if not p.retry and core[9] and not is_final(core[1]) then return { 'compensating' } end
  if core[2] == p.id and not is_final(core[1]) then return { 'active' } end
  if p.retry and core[1] == 'completed' then return { 'completed' } end
  if (core[9] and tonumber(core[9]) or nil) ~= p.left then return { 'compensating' } end
  if core[4] then return { 'partial' } end
end
local list = staged(p.staged)[1]
if p.rows == 0 and redis.call('EXISTS', list) == 0 then error('nothing was done: what is to be copied is gone (evicted?)', 0) end
local holder = find_holder()
if holder then return { 'held', unpack(holder) } end

local moment = text(at)
local initial = ARGV[4] ~= '' and ARGV[4] or core[6] or '{}'
fields = first_fields(ARGV[3], moment, 1, p.active)
set('i', initial)
if #initial > SMALL then set('il', 1) end
if p.retry and core[7] then set('en', core[7]) end
write(fields)
fields = {}
make_known(moment)
remember(1, '', nil, nil, moment, ARGV[5])
tell('fork', 1, 1, at, ARGV[5])
if p.retry then redis.call('HSET', earlier, 'ra', p.run_id) end

local rows, done, started = { unpack(ARGV, 6, 5 + p.rows) }, 0, {}
if not p.apart then done, started = copy_rows(rows, true, at) end
set('sz', copied_bytes)
if p.rows > 0 and done == #rows then
  write(fields)
  local posted = send(started, 5 + p.rows)
  return { (posted == true or #started == 0) and 'posted' or 'ok' }
end

if p.rows > 0 then
  for from = done + 1, #rows, UNPACKED do -- in slices: unpack() has a limited stack
    redis.call('RPUSH', list, unpack(rows, from, math.min(from + UNPACKED - 1, #rows)))
  end
else
  redis.call('PERSIST', list)
end
set('cp', cjson.encode({ id = p.staged, source = p.source, apart = p.apart, retry = p.retry, n = 0 }))
write(fields)
redis.call('ZADD', due, text(steady() + SETTLE_PAUSE), copy_due(p.source, p.staged))
if not p.apart then hold(p.source, p.run_id) end
return { 'copying' }
