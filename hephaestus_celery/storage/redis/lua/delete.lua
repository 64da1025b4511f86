-- Delete an ended run: all that is stored of it goes in one call.
-- What the end of a large run has left is cleared away before, a slice with each call; until the last call the run is as
-- it was. Closes the race with a new start of its id, which is another run.
-- A run from which another is being copied stays until that is whole. Mirrors core/execution/deletion.py.
--   reply: names and values: `verdict` ('deleted', with `held` where a run of another partition still bears the mark that it
--   is being copied into this one, 'more' where another call must follow, 'unknown_run', 'active' with
--   `status`, 'copied' with `status` and `copy`, the other run, 'newer_schema' with `schema`)
-- needs: erase copies
demand({ run_id = 'name', op = 'string', schema = 'number' })
if replayed(p.run_id, p.op) then return { 'verdict', 'deleted' } end
local core = redis.call('HMGET', run, 'st', 'id', 'family', 'tags', 'schema', 'cp')
if not core[1] then return { 'verdict', 'unknown_run' } end
if is_newer(core[5]) then return { 'verdict', 'newer_schema', 'schema', core[5] } end
if not is_final(core[1]) then return { 'verdict', 'active', 'status', core[1] } end
local copy = held_by(p.run_id)
if copy then return { 'verdict', 'copied', 'status', core[1], 'copy', copy } end
if redis.call('ZSCORE', due, sweep_due()) and not sweep_slice() then return { 'verdict', 'more' } end
local tags = core[4] and cjson.decode(core[4]) or {}
leave_indexes(core[2], core[3], tags, { core[1] })
redis.call('ZREM', due, prune_due(core[2], core[3], tags))
local about = core[6] and cjson.decode(core[6])
if about and about.id then -- it is not whole itself
  redis.call('ZREM', due, copy_due(about.source, about.id))
  redis.call('UNLINK', staged(about.id)[1])
  if not about.apart then let_go(about.source, p.run_id) end
end
unlink_run()
replay(p.run_id, p.op, '1')
if about and about.apart then return { 'verdict', 'deleted', 'held', about.source } end
return { 'verdict', 'deleted' }
