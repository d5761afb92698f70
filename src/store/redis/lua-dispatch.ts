/** Steps that assign jobs to workers, and what comes of it. */
export const luaDispatch = String.raw`
local WSTATE, WPROVIDER, WCLASS, WTENANT, FOR_JOB, FOR_JOB_ONLY, MAX_JOBS, GIVEN, WJOBS, LAST_CLAIM = 1, 2, 3, 4, 5, 6, 11, 12, 24, 25
-- A row of an older program lacks it.
local CONNECTION = 26

local function isExpected(w)
  return w[WSTATE] <= 1 or (w[WSTATE] == 2 and w[FOR_JOB_ONLY] and w[GIVEN] == 0)
end

-- The worker, and for which job it is expected.
local function loadWorker(id)
  local w = getWorker(id)
  if w then return w, isExpected(w) and w[FOR_JOB] end
end

local function saveWorker(id, w, was)
  local is = isExpected(w) and w[FOR_JOB]
  if was ~= is then
    if was then count(PLAN, was, -1) end
    if is then count(PLAN, is, 1) end
  end
  workers[id] = w
  markWorker(id)
end

-- The job that is the only one for the worker, if it can be claimed.
local function takeOwn(w)
  local id, class, tenant = w[FOR_JOB], w[WCLASS], w[WTENANT]
  local st = loadStatic(id)
  if not st or st[CLASS] ~= class or (tenant and st[TENANT] ~= tenant) then return {} end
  if not call('ZSCORE', readyKey(st[TENANT], class), id) then return {} end
  takeTurn(id, st)
  return { id }
end

local function assign(id, w, given)
  local row = given.row and U(given.row) or fresh(given.st)
  row[TRIES] = row[TRIES] + 1
  row[ATTEMPT], row[WORKER], row[PROVIDER] = given.attempt, given.worker, w[WPROVIDER]
  row[ASSIGNED], row[STARTED] = given.now, false
  move(row, 'start', { now = given.now, message = 'assigned to worker ' .. given.worker })
  row[DEADLINE] = given.deadline
  later('ZADD', DUE, textOf(given.deadline), id)
  later('ZADD', ACT, '0', id)
  saveRowLater(id, row)
  return { id, given.attempt, row[TRIES], row[SPENT], row[INFRA] }
end

local function insertSorted(list, id)
  local at = #list + 1
  while at > 1 and list[at - 1] > id do at = at - 1 end
  table.insert(list, at, id)
end

-- What an earlier claim with the same attempts gave, whose answer was lost.
local function repeatClaim(w, attempts)
  local byAttempt, list, statics = {}, {}, {}
  for _, id in ipairs(w[WJOBS]) do
    local row = loadRow(id)
    if row and row[ATTEMPT] then byAttempt[row[ATTEMPT]] = { id, row[ATTEMPT], row[TRIES], row[SPENT], row[INFRA] } end
  end
  for _, attempt in ipairs(attempts) do
    local found = byAttempt[attempt]
    if found then list[#list + 1], statics[#statics + 1] = found, call('HGET', S, found[1]) end
  end
  return list, statics
end

-- { worker, count, attempts, deadline, bindsTenant, now, connection }; behind the answer come the jobs as they are kept
steps.claimNext = function(a)
  local worker, attempts, now = a[1], a[3], a[6]
  promote(now)
  local w, was = loadWorker(worker)
  if not w or w[WSTATE] ~= 2 then return {}, {} end
  if a[7] and a[7] ~= (w[CONNECTION] or 0) then return {}, {} end
  if attempts[1] and w[LAST_CLAIM] == attempts[1] then return repeatClaim(w, attempts) end
  local most = math.min(a[2], #attempts, w[MAX_JOBS] - w[GIVEN])
  if most < 1 then return {}, {} end
  local isOwn = w[FOR_JOB_ONLY] and w[FOR_JOB]
  local ids = isOwn and takeOwn(w) or takeTurns(w[WCLASS], w[WTENANT], most, a[5])
  if #ids == 0 then return {}, {} end
  local list, statics, rows = {}, getAll(S, ids), getAll(J, ids)
  for at, id in ipairs(ids) do
    local st = readStatic(statics[at])
    if not isOwn then
      count(KINDS, kindOf(st), -1)
      count(QUEUED, st[TENANT], -1)
    end
    if a[5] then w[WTENANT] = st[TENANT] end
    insertSorted(w[WJOBS], id)
    list[at] = assign(id, w, { attempt = attempts[at], worker = worker, now = now, deadline = a[4], st = st, row = rows[at] })
  end
  w[GIVEN], w[LAST_CLAIM] = w[GIVEN] + #ids, attempts[1]
  saveWorker(worker, w, was)
  return list, statics
end

-- { job, attempt, startedAt, deadline }
local function startAttempt(start, now)
  local raw = call('HGET', J, start[1])
  local row = raw and U(raw)
  if not row or row[ATTEMPT] ~= start[2] then return 'fenced' end
  if row[STATE] ~= JOB_starting then return 'ok' end
  move(row, 'run', { now = now, message = 'started' })
  row[STARTED], row[DEADLINE] = start[3], start[4]
  call('ZADD', DUE, start[4], start[1])
  saveRow(start[1], row)
  return 'ok'
end

steps.startAttempts = function(a)
  local done = {}
  for at, start in ipairs(a[1]) do done[at] = startAttempt(start, a[2]) end
  return done
end

local function isRepeat(row, f)
  for _, done in ipairs({ U(row[ENDED]) }) do
    if done[1] == f[2] then return done[7] == f[4] and done[8] == f[5] and done[9] == f[6] end
  end
  return false
end

-- As movesTo.
local function movesTo(state, name, hasStarted)
  if state == JOB_cancelling then
    return { (name == 'requeue' or name == 'time_out') and 'end_cancelled' or name }
  end
  local way = {}
  if state == JOB_starting and (hasStarted or name == 'succeed') then way[1] = 'run' end
  if name == 'end_cancelled' then way[#way + 1] = 'cancel' end
  way[#way + 1] = name
  return way
end

-- { job, attempt, move, endedAt, exit, signal, failure, message, startedAt, peak, next, expires, failure if cancelled, its message }
local function finishStep(id, row, step)
  local name, f, now = step.move, step.finish, step.now
  if name == 'run' then
    move(row, name, { now = now, message = 'started' })
    row[STARTED] = f[9] or now
  elseif name == 'cancel' then
    move(row, name, { now = now, message = 'ended as cancelled' })
  else
    local failure, message = f[7], f[8]
    if not failure and name == 'end_cancelled' then failure, message = f[13], f[14] end
    local price = releaseJob(row[WORKER], id)
    move(row, name, { now = now, message = failure and message or 'succeeded', failure = failure })
    endAttempt(row, { started = f[9], at = f[4], exit = f[5], signal = f[6], failure = failure,
      peak = f[10], price = price })
    if name == 'requeue' then return requeueJob(id, row, f[11], now) end
    row[FAILURE] = failure
    closeJob(id, row, f[12])
  end
end

local function finishAttempt(f, row, now)
  if not row then return 'fenced' end
  if row[ATTEMPT] ~= f[2] then return isRepeat(row, f) and 'repeat' or 'fenced' end
  for _, name in ipairs(movesTo(row[STATE], f[3], f[9])) do
    finishStep(f[1], row, { move = name, finish = f, now = now })
  end
  saveRowLater(f[1], row)
  return 'ok'
end

steps.finishAttempts = function(a)
  local ids, rows, done = {}, {}, {}
  promote(a[2])
  for at, finish in ipairs(a[1]) do ids[at] = finish[1] end
  for at, raw in ipairs(getAll(J, ids)) do
    local id = ids[at]
    -- The same job twice is one row.
    if not rows[id] then rows[id] = raw and U(raw) end
    done[at] = finishAttempt(a[1][at], rows[id], a[2])
  end
  return done
end
`;
