-- The clocks: `now`, as users see it, and `steady`, which the due set goes by.
-- A punctual script that comes too late ends here.
-- needs: arguments

-- Now as users see it: it may step. Asked for once a script.
local wall
local function now()
  if not wall then
    local time = redis.call('TIME')
    wall = time[1] * SECOND + time[2]
  end
  return wall
end

-- Now on the clock that everything in the due set goes by: this server's, and an offset that takes back whatever its
-- steps did (see tick.lua). A caller brings what that clock says by its own reckoning (p.now, never ahead) and the offset
-- that it knows (p.offset): where the two part, this clock has been set, and nobody has taken it back yet; or the call
-- was under way for long. Either way no timer may be set by more than p.slack beside it.
local steady_now
local function steady()
  if not steady_now then
    steady_now = now() + (p.offset or 0)
    if p.now and steady_now < p.now - STEP then steady_now = p.now end
    if p.now and steady_now > p.now + p.slack then steady_now = p.now + p.slack end
  end
  return steady_now
end

-- Who asked has given up by now, and may have done something else since: what comes too late is not done. (Nor what comes
-- too early: then the clock has been set, and the caller is to look at it first.)
if p.punctual then
  local ahead = now() + (p.offset or 0) - p.now
  if ahead > p.slack or ahead < -STEP then return 'late' end
end
