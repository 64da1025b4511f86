-- Read a run as it stands, as much as one reply may carry.
-- Closes the race of a reader with a commit: one script reads everything.
--   ARGV[3...] keys of the wanted steps, in a run of many
--   reply: {} or {start, fields (see carried), packed}
-- needs: run_reply
local core = redis.call('HMGET', run, 'st', 'sz', 'il', 'family')
if not core[1] then return {} end
local steps = {}
for i = 3, #ARGV do steps[#steps + 1] = ARGV[i] end
local fields = carried(core[2], core[3], steps)
add_workflow_pause(fields, core[1], core[4])
return { read_start(), packed(fields) }
