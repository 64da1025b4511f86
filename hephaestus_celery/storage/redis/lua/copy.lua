-- Copy a slice of what a rerun takes of its earlier run, and in the end start its steps.
-- Closes the races of the calling process with a scheduler that takes over, of a crash between two slices, and of the end of
-- either run. If the earlier run is gone, the rerun fails. A rerun that has ended is copied all the same, since it may be
-- retried itself; but its steps do not start.
--   p.source: the earlier run, as the caller knows it   p.lost: the failure of the rerun if that is gone
--   p.at_once: the caller continues when the tick hands it over
--   p.given: how many values of another partition follow, for the first p.taken rows, as they were after p.number slices;
--   p.gone: the earlier run is gone there
--   ARGV[3...] these values; then the messages of p.prepared
--   reply: {facts}. `v` stale: nothing is left to copy, moved: another has copied a slice since. `left`: how many rows remain; `activated`, `posted`: see complete.lua;
--   `lost`: the rerun has failed, `seq` the number of its event; {facts, start, ending} then
-- needs: copying stream
demand({
  run_id = 'name', source = 'name', op = 'string', lost = 'string', entry = 'string', at_once = 'boolean?', given = 'number?',
  taken = 'number?', number = 'number?', gone = 'boolean?', prepared = 'table?', dispatch_timeout = 'number', retention = 'number',
})
demand_prepared(2 + (p.given or 0))
local facts = answered('|copy', p.op)
if facts then return cjson.decode(facts).lost and { facts, read_start(), ending() } or { facts } end
local core = redis.call('HMGET', run, 'st', 'cp', 'sz', 'seq', 'adv')
local about = core[2] and cjson.decode(core[2])
if not about or about.lost or about.source ~= p.source then return { '{"v":"stale"}' } end
if p.number and p.number ~= about.n then return { '{"v":"moved"}' } end
local status, list, entry = core[1], staged(about.id)[1], copy_due(about.source, about.id)
p.retry = about.retry
if about.apart then given = { unpack(ARGV, 3, 2 + (p.given or 0)) } end
local live, at = not is_final(status), now()

-- The earlier run is gone, or what was staged is: evicted, or deleted by hand.
local function lose()
  redis.call('ZREM', due, entry)
  redis.call('UNLINK', list)
  redis.call('HSET', run, 'cp', '{"lost":true}')
  if not live then return { '{"v":"stale"}' } end
  local sequence = redis.call('HINCRBY', run, 'seq', 1)
  redis.call('HSET', run, 'f', p.lost)
  remember(sequence, 'failed', nil, nil, text(at), p.entry)
  local t1, states = finish(status, 'failed', at)
  tell('end', sequence, 1, at, '', p.stream and ended_as({ stuck = p.lost }, 'failed'))
  local reply = { lost = true, seq = sequence, adv = tonumber(core[5]), after = 'failed', before = status }
  return { answer('|copy', p.op, reply, true), read_start(), ending(t1, states) }
end

local gone = p.gone
if not about.apart then gone = redis.call('EXISTS', prefix .. 'run:' .. about.source) == 0 end
local rows = redis.call('LRANGE', list, 0, (p.taken or COPIED_ROWS) - 1)
if rows[1] and about.head then rows[1] = about.head end -- the row that continues the first one
if gone or #rows == 0 then return lose() end
local done, started = copy_rows(rows, live, at)
if core[3] and copied_bytes > 0 then set('sz', core[3] + copied_bytes) end
redis.call('LTRIM', list, done, -1)
local left = redis.call('LLEN', list)
about.head = left > 0 and rows[done + 1] or nil
about.n = about.n + 1
if left > 0 then set('cp', cjson.encode(about)) end
write(fields)
if left > 0 then
  redis.call('ZADD', due, text(steady() + (p.at_once and 0 or SETTLE_PAUSE)), entry)
  if not about.apart then hold(about.source, p.run_id) end
else
  redis.call('HDEL', run, 'cp')
  redis.call('ZREM', due, entry)
  if not about.apart then let_go(about.source, p.run_id) end
end
if not live then -- what was created after the end lasts as long as the run
  local lasts = redis.call('PTTL', run)
  for _, key in ipairs({ early_events(), taken_events(), owners_of_keys() }) do
    if lasts > 0 then redis.call('PEXPIRE', key, lasts) end
  end
end
local reply = { left = left, seq = core[4] + 1, adv = tonumber(core[5]) }
if #started > 0 then reply.activated = started end
reply.posted = send(started, 2 + (p.given or 0))
return { answer('|copy', p.op, reply, not live) }
