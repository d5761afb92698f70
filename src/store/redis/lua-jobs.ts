/** Steps of a job's life that need no worker. */
export const luaJobs = String.raw`
local epoch, perMillisecond = ${Date.UTC(2025, 0, 1)}, 4096
local digits = '0123456789abcdefghjkmnpqrstvwxyz'

local function digitsOf(number, count)
  local text = {}
  for at = count, 1, -1 do
    local digit = number % 32
    text[at] = string.sub(digits, digit + 1, digit + 1)
    number = (number - digit) / 32
  end
  return table.concat(text)
end

-- Those of one script have mostly the same first digits.
local firstDigits, firstNumber
local function idOf(number)
  local rest = number % 32768
  if firstNumber ~= number - rest then
    firstNumber = number - rest
    firstDigits = 'j' .. digitsOf(firstNumber / 32768, 8)
  end
  return firstDigits .. digitsOf(rest, 3)
end

local function nextId(now)
  lastNumber = math.max((lastNumber or tonumber(call('GET', K .. 'n') or '0')) + 1, (now - epoch) * perMillisecond)
  return idOf(lastNumber)
end

local function appendAudit(entry)
  local sequence = call('INCR', K .. 'an')
  local expires = table.remove(entry)
  call('HSET', K .. 'a', sequence, P(entry))
  call('ZADD', K .. 'xa', expires, string.format('%016.0f', sequence))
end

-- As describeSubmit.
local function describeSubmit(outcomes)
  local first, more = false, -1
  for _, outcome in ipairs(outcomes) do
    if outcome[1] == 'accepted' then
      first = first or outcome[2]
      more = more + 1
    end
  end
  if first then return more == 0 and first or first .. ' and ' .. more .. ' more', 'OK' end
  local isConflict = outcomes[1] and outcomes[1][1] == 'conflict'
  return '', isConflict and 'ALREADY_EXISTS' or 'RESOURCE_EXHAUSTED'
end

local function findKey(field, hash, now)
  local raw = call('HGET', K .. 'k', field)
  if not raw then return end
  local known = U(raw)
  if known[3] <= now then return end
  local row = loadRow(known[1])
  if not row then return end
  if known[2] ~= hash then return { 'conflict', known[1] } end
  return { 'accepted', known[1], row[VERSION], true }
end

-- { tenant, class, priority, deadline, most queued, key, spec hash, end of the key, where its spec is }, the job as it is kept
local function submitJob(job, static, now, keys)
  local tenant, key = job[1], job[6]
  local field = key and tenant .. '|' .. key
  local same = key and keys[field]
  if same then return same.hash == job[7] and { 'accepted', same.id, 1, true } or { 'conflict', same.id } end
  local earlier = key and findKey(field, job[7], now)
  if earlier then return earlier end
  local queued = tonumber(call('HGET', QUEUED, tenant) or '0') + (counts[QUEUED] and counts[QUEUED][tenant] or 0)
  if queued >= job[5] then return { 'quota', queued } end
  local id = nextId(now)
  later('HSET', S, id, static)
  push(K .. 'i', id)
  push(K .. 'i:' .. tenant, id)
  later('ZADD', DUE, textOf(job[4]), id)
  if key then
    keys[field] = { id = id, hash = job[7] }
    later('HSET', K .. 'k', field, P({ id, job[7], job[8] }))
    later('ZADD', K .. 'xk', textOf(job[8]), field)
  end
  enterQueue(id, { tenant, job[2], job[3] }, now, now)
  tell('j', id)
  return { 'accepted', id, 1, false }
end

-- To be deleted, by whoever can: it may be on another server.
local function discard(ref)
  if ref then call('SADD', K .. 'trash', ref) end
end

-- A large spec that was stored before is not only noted any more.
local function forgetPut(ref)
  if ref then call('ZREM', K .. 'put', ref) end
end

steps.submitJobs = function(a, texts)
  local jobs, now, audit = a[1], a[2], a[3]
  promote(now)
  local outcomes, keys = {}, {}
  for at, job in ipairs(jobs) do
    local outcome = submitJob(job, ARGV[texts + at], now, keys)
    outcomes[at] = outcome
    forgetPut(job[9])
    if outcome[1] ~= 'accepted' or outcome[4] then discard(job[9]) end
  end
  if audit then
    audit[5], audit[6] = describeSubmit(outcomes)
    appendAudit(audit)
  end
  return outcomes
end

steps.findJob = function(a) return showJob(a[1]) end

steps.recordStages = function(a)
  local now = a[2]
  for _, given in ipairs(a[1]) do
    local id = given[1]
    local row = loadRow(id)
    if row and row[STATE] < JOB_succeeded then
      addEvent(row, { at = now, stage = given[2], attempt = row[ATTEMPT] and row[TRIES] or 0, worker = given[3],
        message = given[4], failure = given[5] })
      saveRow(id, row)
    end
  end
  return true
end

-- To be called when the job has come to its end.
local function closeJob(id, row, expires)
  row[EXPIRES] = expires
  later('ZREM', DUE, id)
  later('ZREM', ACT, id)
  later('ZADD', K .. 'xj', textOf(expires), id)
end

-- { notBefore, deadline, isSpent }
local function requeueJob(id, row, next, now)
  row[NOT_BEFORE], row[DEADLINE] = next[1], next[2]
  local count = next[3] and SPENT or INFRA
  row[count] = row[count] + 1
  call('ZREM', ACT, id)
  call('ZADD', DUE, next[2], id)
  enterQueue(id, loadStatic(id), next[1], now)
end

-- Gives what an hour of the worker was to cost.
local function releaseJob(worker, id)
  local w = worker and getWorker(worker)
  if not w then return 0 end
  for at, job in ipairs(w[24]) do
    if job == id then
      table.remove(w[24], at)
      break
    end
  end
  markWorker(worker)
  return w[7]
end

-- { id, message, failure, deadline, expires, now }
steps.cancelJob = function(a)
  local id, message, now = a[1], a[2], a[6]
  local row = loadRow(id)
  if not row then return refuse('not_found', 'job ' .. id .. ' is not known') end
  if row[STATE] >= JOB_succeeded then return { 'over', row[STATE] } end
  if row[STATE] == JOB_cancelling then return showJob(id) end
  if row[STATE] == JOB_queued then
    leaveQueue(id, loadStatic(id))
    move(row, 'end_cancelled', { now = now, message = message, failure = a[3] })
    row[FAILURE] = a[3]
    closeJob(id, row, a[5])
  else
    move(row, 'cancel', { now = now, message = message })
    row[DEADLINE] = a[4]
    call('ZADD', DUE, a[4], id)
    tell('x', id)
  end
  saveRow(id, row)
  return showJob(id)
end

steps.listDue = function(a)
  local jobs, bytes = {}, 0
  for _, id in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', a[1], 'LIMIT', 0, a[2])) do
    local job = showJob(id)
    jobs[#jobs + 1] = job
    bytes = bytes + #job[2] + (loadWhole(id)[12] or 0)
    if bytes > 8388608 then break end
  end
  return jobs
end

-- { id, version, move, failure, message, next, expires }
local function moveJob(given, now)
  local id, name = given[1], given[3]
  local row = loadRow(id)
  if not row or row[VERSION] ~= given[2] or not moves[name].from[row[STATE]] then return false end
  -- Whoever has the worker of an attempt that ends here is told.
  if row[STATE] == JOB_queued then leaveQueue(id, loadStatic(id)) else tell('x', id) end
  local price = releaseJob(row[WORKER], id)
  move(row, name, { now = now, message = given[5], failure = given[4] })
  endAttempt(row, { at = now, failure = given[4], price = price })
  if given[6] then
    requeueJob(id, row, given[6], now)
  else
    row[FAILURE] = given[4]
    closeJob(id, row, given[7])
  end
  saveRow(id, row)
  return true
end

steps.moveJobs = function(a)
  local done = {}
  promote(a[2])
  for at, given in ipairs(a[1]) do done[at] = moveJob(given, a[2]) end
  return done
end
`;
