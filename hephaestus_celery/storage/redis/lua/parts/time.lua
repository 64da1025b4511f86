-- The clocks: `now`, as users see it, and `steady`, which the due set goes by.
-- A punctual script that comes too late ends here.
-- needs: arguments

-- Now as users see it; this clock may jump. A script reads it once.
local wall
local function now()
  if not wall then
    local time = redis.call('TIME')
    wall = time[1] * SECOND + time[2]
  end
  return wall
end

-- Now on the clock of the due set: this server's clock, and an offset that makes up for its jumps (see tick.lua). A
-- caller gives its own estimate of that clock (p.now, never ahead) and the offset that it knows (p.offset). If the two
-- differ, this clock has been set and the offset is not corrected yet, or the call was slow. In both cases no timer may
-- be wrong by more than p.slack.
local steady_now
local function steady()
  if not steady_now then
    steady_now = now() + (p.offset or 0)
    if p.now and steady_now < p.now - STEP then steady_now = p.now end
    if p.now and steady_now > p.now + p.slack then steady_now = p.now + p.slack end
  end
  return steady_now
end

-- A punctual caller has given up on a late call, and may have done something else since, so a late call does nothing. A
-- call that comes too early does nothing either: the clock was set, and the caller must check it first.
if p.punctual then
  local ahead = now() + (p.offset or 0) - p.now
  if ahead > p.slack or ahead < -STEP then return 'late' end
end
