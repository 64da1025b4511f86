-- Read a run as it stands, as much as one reply may carry.
-- Closes the race of a reader with a commit: one script reads everything.
--   ARGV[3...] keys of the wanted steps, in a run of many
--   reply: {} or {start, fields (see carried), packed}
-- needs: run_reply
local core = redis.call('HMGET', run, 'st', 'sz', 'il')
if not core[1] then return {} end
local steps = {}
for i = 3, #ARGV do steps[#steps + 1] = ARGV[i] end
return { read_start(), packed(carried(core[2], core[3], steps)) }
