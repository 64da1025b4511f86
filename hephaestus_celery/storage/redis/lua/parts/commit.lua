-- Whether a commit is refused: it is late or foreign, or its run has ended.
-- needs: run time stream

-- What a commit brings for the event stream: how long its step was executed, what kind of failure it is.
local function commit_facts(facts)
  facts.took, facts.kind = p.took, p.kind
  return facts
end

-- The same of a commit of this step, which is applied.
local function applied_facts(step)
  local facts = commit_facts({})
  if step.cp then facts.undoes = '1' end
  local waited = step.r and step.w and tonumber(step.r.at) - tonumber(step.w)
  if waited and waited >= 0 then facts.waited = text(waited) end
  return facts
end

-- A worker commits with the fence of its claim. A commit with another fence is late or foreign, and changes nothing. A
-- commit after the run's end enters the history as discarded, and its event gets a number.
local function refused(status, step, at, what)
  if not step or step.f ~= p.fence then return { v = 'stale' } end
  if not is_final(status) then return nil end
  local reserved = step.r and 0 or 1
  local sequence = redis.call('HINCRBY', run, 'seq', reserved) - reserved + 1
  step.f = nil
  set_step(p.step, step)
  remember(sequence, 'discarded', queued(step), step.c, text(at), ARGV[3])
  tell(what, sequence, reserved, at, ARGV[3], commit_facts({ discarded = '1' }))
  local left = redis.call('PTTL', run)
  if left > 0 then redis.call('PEXPIRE', history, left) end -- this entry may have created an evicted list anew
  return { v = 'discarded', seq = sequence, before = status, after = status }
end
