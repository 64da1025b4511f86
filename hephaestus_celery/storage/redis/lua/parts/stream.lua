-- The event stream of the partition: what telemetry tells of a commit. Mirrors core/execution/telling.py.
-- Nothing is done where the caller gives no p.stream, about how many entries are kept.
-- An entry has a field `c`, a JSON list of texts: run id, instance id, workflow, version, first event number, how many
-- events, when, what, and a mapping of facts; and a field `d`, the history entry or ''. The id of an entry is a time in
-- milliseconds, and the number of its last event in this partition: so a reader knows how many events it has missed.
-- needs: run
local function stream_key() return prefix .. 'events' end

-- The time and the number in an entry's id.
local function place_of(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(number)
end

-- Tell of `count` events from the number `sequence` on. The key may hold anything, and a script must not end half done, so
-- errors are passed over.
local function tell(what, sequence, count, at, detail, facts)
  if not p.stream or count == 0 then return end
  local about = redis.call('HMGET', run, 'id', 'name', 'version')
  local last = redis.pcall('XREVRANGE', stream_key(), '+', '-', 'COUNT', 1)[1]
  local ms, number = math.floor(at / MILLISECOND), 0
  if last then
    local before
    before, number = place_of(last[1])
    ms = math.max(ms, before) -- ids never go back, whatever the clock does
  end
  local told = cjson.encode({
    p.run_id, about[1], about[2], about[3], text(sequence), text(count), text(at), what, facts or {},
  })
  redis.pcall('XADD', stream_key(), 'MAXLEN', '~', text(p.stream), text(ms) .. '-' .. text(number + count), 'c', told, 'd', detail)
end

-- How a run has ended, as a fact of what is told.
local function ended_as(facts, status)
  facts['end'], facts.start = status, read_start()
  return facts
end
