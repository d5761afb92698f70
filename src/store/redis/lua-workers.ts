/** Steps of a worker's life. Its states count from planned, 0, to ended, 5. */
export const luaWorkers = String.raw`
local UID, SLOTS, READY_AT, WENDED_AT, START_BY, WFAILURE, REASON, HOSTNAME, WEXPIRES, OTP, OTP_EXPIRES, SESSION = 9, 10, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23

local function showWorker(id)
  local w = getWorker(id)
  return { id, w and P(w) or false }
end

local function unknown(id) return refuse('not_found', 'worker ' .. id .. ' is not known') end

-- The job that would be claimed first of those for which no worker is expected.
local function firstUnplanned(class, bound, planned)
  local best, bestTurn
  local turns = call('ZRANGE', K .. 'turn:' .. class, 0, -1, 'WITHSCORES')
  for at = 1, #turns, 2 do
    local tenant, start = turns[at], tonumber(turns[at + 1])
    if not bound or tenant == bound then
      local key, place, found = readyKey(tenant, class), 0, nil
      repeat
        local ids = call('ZRANGE', key, place, place + 49)
        for _, id in ipairs(ids) do
          if not planned[id] then found = id break end
          place = place + 1
        end
      until found or #ids == 0
      local turn = start + place * (1 / (weights[tenant] or 1))
      -- Tenants come by their turn and name, so a later one has to be better.
      if found and (not best or turn < bestTurn[1] or (turn == bestTurn[1] and tenant < bestTurn[2])) then
        best, bestTurn = found, { turn, tenant }
      end
    end
  end
  return best or false
end

-- { id, row, isWarm }; the row has no job yet unless one was named.
steps.planWorkers = function(a)
  local now, planned, list = a[2], {}, {}
  promote(now)
  flush()
  for _, job in ipairs(call('HKEYS', PLAN)) do planned[job] = true end
  for at, given in ipairs(a[1]) do
    local id, w = given[1], given[2]
    if not getWorker(id) then
      if given[3] then w[FOR_JOB] = false
      elseif not w[FOR_JOB] then w[FOR_JOB] = firstUnplanned(w[WCLASS], w[WTENANT], planned) end
      if w[FOR_JOB] then planned[w[FOR_JOB]] = true end
      saveWorker(id, w, false)
      call('ZADD', K .. 'wa', 0, id)
      call('ZADD', K .. 'wl', 0, id)
    end
    list[at] = showWorker(id)
  end
  return list
end

steps.recordCreated = function(a)
  local w, was = loadWorker(a[1])
  if not w or w[WSTATE] == 5 then return true end
  w[UID] = w[UID] or a[2]
  if w[WSTATE] == 0 then w[WSTATE] = 1 end
  saveWorker(a[1], w, was)
  return true
end

-- { id, hash of the token, hash of the session, now }; no hash: attested
steps.redeem = function(a)
  local w, was = loadWorker(a[1])
  if not w then return { 'refused', 'unknown_worker' } end
  if w[WSTATE] == 5 then return { 'refused', 'over' } end
  if a[2] and w[OTP] ~= a[2] then return { 'refused', 'wrong_token' } end
  if w[SESSION] then
    if w[SESSION] == a[3] then return { 'ok', true } end
    return { 'refused', 'already_redeemed' }
  end
  if w[WSTATE] > 1 then return { 'refused', 'over' } end
  if a[4] > w[OTP_EXPIRES] then return { 'refused', 'expired' } end
  w[SESSION], w[WSTATE], w[READY_AT], w[START_BY] = a[3], 2, a[4], false
  saveWorker(a[1], w, was)
  return { 'ok', false }
end

steps.findSession = function(a)
  local w = loadWorker(a[1])
  return w and w[SESSION] or false
end

steps.recordHello = function(a)
  local w, was = loadWorker(a[1])
  if not w or w[WSTATE] == 5 then return 0 end
  w[SLOTS], w[HOSTNAME], w[CONNECTION] = a[2], a[3], (w[CONNECTION] or 0) + 1
  saveWorker(a[1], w, was)
  return w[CONNECTION]
end

steps.findWorker = function(a) return showWorker(a[1]) end

steps.listLiveWorkers = function()
  local list = {}
  for at, id in ipairs(call('ZRANGE', K .. 'wl', 0, -1)) do list[at] = showWorker(id) end
  return list
end

-- { before, limit }: newest first
steps.scanWorkers = function(a)
  local list = {}
  local from = a[1] and '(' .. a[1] or '+'
  for at, id in ipairs(call('ZREVRANGEBYLEX', K .. 'wa', from, '-', 'LIMIT', 0, a[2])) do list[at] = showWorker(id) end
  return list
end

steps.drainWorker = function(a)
  local w, was = loadWorker(a[1])
  if not w then return unknown(a[1]) end
  if w[WSTATE] == 2 then
    w[WSTATE], w[REASON] = 3, a[2]
    saveWorker(a[1], w, was)
  end
  return showWorker(a[1])
end

steps.stopWorker = function(a)
  local w, was = loadWorker(a[1])
  if not w then return unknown(a[1]) end
  if w[WSTATE] <= 3 then
    w[WSTATE], w[REASON], w[START_BY] = 4, a[2], false
    saveWorker(a[1], w, was)
  end
  return showWorker(a[1])
end

-- { id, failure, its stage and message, expires, now }
steps.endWorker = function(a)
  local id, failure, now = a[1], a[2], a[6]
  local w, was = loadWorker(id)
  if not w or w[WSTATE] == 5 then return showWorker(id) end
  w[WSTATE], w[WENDED_AT], w[WFAILURE], w[WEXPIRES], w[START_BY], w[SESSION] = 5, now, failure, a[5], false, false
  saveWorker(id, w, was)
  call('ZREM', K .. 'wl', id)
  call('ZREM', K .. 'heard', id)
  call('ZADD', K .. 'xw', a[5], id)
  local job = failure and not w[READY_AT] and w[FOR_JOB]
  local row = job and loadRow(job)
  if row and row[STATE] == JOB_queued then
    row[INFRA] = row[INFRA] + 1
    addEvent(row, { at = now, stage = a[3], attempt = 0, worker = id, message = a[4], failure = failure })
    saveRow(job, row)
  end
  return showWorker(id)
end
`;
