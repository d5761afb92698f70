/**
 * The queue. Tenants of a class take turns: the one with the smallest virtual time is next, and pays with 1/weight. One that comes back from having
 * nothing to claim starts with the others at the earliest, so it has saved up nothing. When a class has nothing to claim, its turns are forgotten.
 */
export const luaQueue = String.raw`
local function readyKey(tenant, class) return K .. 'q:' .. tenant .. ':' .. class end
local function waitKey(tenant, class) return K .. 'b:' .. tenant .. ':' .. class end
local function kindOf(st) return st[PRIORITY] .. '|' .. st[TENANT] .. '|' .. st[CLASS] end

-- Keys that are known to hold something.
local filled = {}

local function makeReady(id, st)
  local tenant, class = st[TENANT], st[CLASS]
  local key = readyKey(tenant, class)
  local isNew = not filled[key] and call('EXISTS', key) == 0
  filled[key] = true
  later('ZADD', key, textOf(0 - st[PRIORITY]), id)
  tell('c', class)
  if not isNew then return end
  local turn, idle = K .. 'turn:' .. class, K .. 'idle:' .. class
  local start = tonumber(call('HGET', idle, tenant) or '0')
  local first = call('ZRANGE', turn, 0, 0, 'WITHSCORES')
  if first[2] then start = math.max(start, tonumber(first[2])) end
  call('HDEL', idle, tenant)
  call('ZADD', turn, start, tenant)
end

-- To be called when something that could be claimed has left.
local function settle(tenant, class)
  local key = readyKey(tenant, class)
  if call('EXISTS', key) == 1 then return end
  filled[key] = nil
  local turn, idle = K .. 'turn:' .. class, K .. 'idle:' .. class
  local start = call('ZSCORE', turn, tenant)
  if not start then return end
  call('ZREM', turn, tenant)
  if call('EXISTS', turn) == 0 then call('DEL', idle) else call('HSET', idle, tenant, start) end
end

local function enterQueue(id, st, notBefore, now)
  count(KINDS, kindOf(st), 1)
  count(QUEUED, st[TENANT], 1)
  if notBefore <= now then return makeReady(id, st) end
  call('ZADD', DELAYED, notBefore, id)
  call('ZADD', waitKey(st[TENANT], st[CLASS]), -st[PRIORITY], id)
end

local function leaveQueue(id, st)
  writeLate()
  count(KINDS, kindOf(st), -1)
  count(QUEUED, st[TENANT], -1)
  if call('ZREM', readyKey(st[TENANT], st[CLASS]), id) == 1 then return settle(st[TENANT], st[CLASS]) end
  call('ZREM', DELAYED, id)
  call('ZREM', waitKey(st[TENANT], st[CLASS]), id)
end

local function priceOf(tenant) return 1 / (weights[tenant] or 1) end

-- As leaveQueue, for a job that may be claimed; its tenant pays for the turn.
local function takeTurn(id, st)
  call('ZINCRBY', K .. 'turn:' .. st[CLASS], priceOf(st[TENANT]), st[TENANT])
  leaveQueue(id, st)
end

-- The tenant whose turn it is.
local function nextTenant(tenants)
  local best
  for _, one in ipairs(tenants) do
    local isFirst = not best or one.turn < best.turn or (one.turn == best.turn and one.name < best.name)
    if isFirst and not one.isOver then best = one end
  end
  return best
end

-- Those of which one could take a turn.
local function readTenants(class, bound, most)
  local key, found, tenants = K .. 'turn:' .. class, {}, {}
  if not bound then found = call('ZRANGE', key, 0, most - 1, 'WITHSCORES')
  else
    local turn = call('ZSCORE', key, bound)
    if turn then found = { bound, turn } end
  end
  for at = 1, #found, 2 do
    tenants[#tenants + 1] = { name = found[at], turn = tonumber(found[at + 1]), taken = 0 }
  end
  return tenants
end

-- As takeTurn for so many jobs of a class: those of one tenant, or those whose turn it is. If it binds, all are of the first one's tenant.
local function takeTurns(class, bound, most, binds)
  local tenants, ids = readTenants(class, bound, most), {}
  while #ids < most do
    local one = nextTenant(tenants)
    if not one then break end
    one.ids = one.ids or call('ZRANGE', readyKey(one.name, class), 0, most - 1)
    if binds then tenants = { one } end
    if one.taken < #one.ids then
      one.taken = one.taken + 1
      one.turn = one.turn + priceOf(one.name)
      ids[#ids + 1] = one.ids[one.taken]
    end
    one.isOver = one.taken == #one.ids
  end
  for _, one in ipairs(tenants) do
    if one.taken > 0 then
      call('ZADD', K .. 'turn:' .. class, textOf(one.turn), one.name)
      call('ZREM', readyKey(one.name, class), unpack(one.ids, 1, one.taken))
      settle(one.name, class)
    end
  end
  return ids
end

-- What has backed off until now may be claimed. What is too much for one step is left for the next.
local function promote(now)
  local due = call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, 1000)
  for _, id in ipairs(due) do
    call('ZREM', DELAYED, id)
    local st = loadStatic(id)
    if st and call('ZREM', waitKey(st[TENANT], st[CLASS]), id) == 1 then makeReady(id, st) end
  end
  writeLate()
end

-- How many members of the sorted set come before (score, id); it need not be a member.
local function countBefore(key, score, id)
  local low = call('ZCOUNT', key, '-inf', '(' .. score)
  local high = low + call('ZCOUNT', key, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if call('ZRANGE', key, middle, middle)[1] < id then low = middle + 1 else high = middle end
  end
  return low
end

steps.countAhead = function(a)
  local id = a[1]
  local st, row = loadStatic(id), loadRow(id)
  if not st or row[STATE] ~= JOB_queued then return false end
  local score = -st[PRIORITY]
  return countBefore(readyKey(st[TENANT], st[CLASS]), score, id) + countBefore(waitKey(st[TENANT], st[CLASS]), score, id)
end

steps.readDemand = function(a)
  promote(a[1])
  flush()
  local kinds, list = call('HGETALL', KINDS), {}
  for at = 1, #kinds, 2 do
    local priority, tenant, class = string.match(kinds[at], '^(-?%d+)|([^|]*)|(.*)$')
    local score = -tonumber(priority)
    local waiting = call('ZCOUNT', waitKey(tenant, class), score, score)
    local first = call('ZRANGEBYSCORE', readyKey(tenant, class), score, score, 'LIMIT', 0, 1)[1]
    local oldest = first and loadStatic(first)[SUBMITTED] or 0
    list[#list + 1] = { tenant, class, tonumber(priority), tonumber(kinds[at + 1]) - waiting, waiting, oldest }
  end
  return list
end
`;
