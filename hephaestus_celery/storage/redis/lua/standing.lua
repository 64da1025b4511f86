-- Read what steps of a run wait for: their states, due entries and messages, the lanes of these, and the scheduler lock.
-- Closes the race of a reader with a commit: one script reads everything. Times in the reply are those of users' clocks.
--   ARGV[3...] the keys of the steps, a hundred at most
--   reply: names and values. `at` is now, or '' where the run is unknown; `schema` of the run; `copy` is what is still to be
--   copied for it (JSON), or ''. As JSON: `steps`, by key
--   {state, due, sent, before}; `lanes`, by name {waiting, mark, look}; `scheduler` {owner, seen, late}
-- needs: lanes
demand({ run_id = 'name' })
local core = redis.call('HMGET', run, 'st', 'schema', 'cp')
if not core[1] then return { 'at', '', 'schema', '', 'copy', '', 'steps', '{}', 'lanes', '{}', 'scheduler', '{}' } end
local shift = now() - steady() -- from the clock of timers to that of users

local function at_wall(score)
  return score and text(tonumber(score) + shift) or nil
end

local steps, lanes = {}, {}
for i = 3, #ARGV do
  local key = ARGV[i]
  local stored = redis.call('HGET', run, 's:' .. key)
  if stored and not is_final(core[1]) then
    local step = cjson.decode(stored)
    local found = { state = stored, due = at_wall(redis.call('ZSCORE', due, step_due(key))), before = 0 }
    if step.k and awaits_claim(step) then
      local sent = redis.call('ZSCORE', lane_key(step.k), step_due(key))
      if sent then
        found.sent, found.before = at_wall(sent), redis.call('ZRANK', lane_key(step.k), step_due(key))
      end
      lanes[step.k] = lanes[step.k] or {
        waiting = redis.call('ZCARD', lane_key(step.k)),
        mark = at_wall(redis.call('ZSCORE', prefix .. 'marks', step.k)),
        look = at_wall(redis.call('ZSCORE', prefix .. 'lanes', step.k)),
      }
    end
    steps[key] = found
  end
end

local lock = redis.call('HMGET', prefix .. 'seat', 'owner', 'beat')
local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
local scheduler = {
  owner = lock[1] or nil,
  seen = lock[1] and at_wall(lock[2]) or nil,
  late = first and text(math.max(0, steady() - tonumber(first))) or '0',
}
return {
  'at', text(now()), 'schema', core[2] or '', 'copy', core[3] or '', 'steps', cjson.encode(steps), 'lanes', cjson.encode(lanes),
  'scheduler', cjson.encode(scheduler),
}
