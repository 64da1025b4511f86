-- Delete an ended run: all that is stored of it goes in one call.
-- What the end of a large run has left is cleared away before, a slice with each call; until the last call the run is as
-- it was. Closes the race with a new start of its id, which is another run.
--   reply: names and values: `verdict` ('deleted', 'more' where another call must follow, 'unknown_run', 'active' with
--   `status`, 'newer_schema' with `schema`)
-- needs: erase
demand({ run_id = 'name', op = 'string', schema = 'number' })
if replayed(p.run_id, p.op) then return { 'verdict', 'deleted' } end
local core = redis.call('HMGET', run, 'st', 'id', 'family', 'tags', 'schema')
if not core[1] then return { 'verdict', 'unknown_run' } end
if is_newer(core[5]) then return { 'verdict', 'newer_schema', 'schema', core[5] } end
if not is_final(core[1]) then return { 'verdict', 'active', 'status', core[1] } end
if redis.call('ZSCORE', due, sweep_due()) and not sweep_slice() then return { 'verdict', 'more' } end
local tags = core[4] and cjson.decode(core[4]) or {}
leave_indexes(core[2], core[3], tags, { core[1] })
redis.call('ZREM', due, prune_due(core[2], core[3], tags))
unlink_run()
replay(p.run_id, p.op, '1')
return { 'verdict', 'deleted' }
