/** Tokens, the audit, providers, lists, and the end of everything that expires. */
export const luaAccess = String.raw`
-- { id, row, expires }
steps.putToken = function(a)
  call('HSET', K .. 't', a[1], a[2])
  call('ZADD', K .. 'ti', 0, a[1])
  if a[3] then call('ZADD', K .. 'xt', a[3], a[1]) else call('ZREM', K .. 'xt', a[1]) end
  return true
end

steps.findToken = function(a) return call('HGET', K .. 't', a[1]) end

-- { after, limit }
steps.scanTokens = function(a)
  local list = {}
  local ids = call('ZRANGEBYLEX', K .. 'ti', a[1] and '(' .. a[1] or '-', '+', 'LIMIT', 0, a[2])
  for at, id in ipairs(ids) do list[at] = call('HGET', K .. 't', id) end
  return list
end

-- The time of the revocation is the sixth of the row; the first one stays.
steps.revokeToken = function(a)
  local raw = call('HGET', K .. 't', a[1])
  if not raw then return refuse('not_found', 'token ' .. a[1] .. ' is not known') end
  local row = U(raw)
  if not row[7] then
    row[7] = a[2]
    call('HSET', K .. 't', a[1], P(row))
  end
  return call('HGET', K .. 't', a[1])
end

steps.appendAudit = function(a)
  for _, entry in ipairs(a[1]) do appendAudit(entry) end
  return true
end

-- { below, limit }: newest first, with their sequences; and from where on to look next
steps.scanAudit = function(a)
  local at = a[1] and a[1] - 1 or tonumber(call('GET', K .. 'an') or '0')
  local least, list = tonumber(call('GET', K .. 'af') or '1'), {}
  while at >= least and #list < a[2] do
    local raw = call('HGET', K .. 'a', at)
    if raw then list[#list + 1] = { at, raw } end
    at = at - 1
  end
  return { list, at >= least }
end

-- { tenant, before, least, states, after, until, limit, scan limit, isActive }: newest first; then the last one looked at, if there may be more
local function idsBefore(a, chunk)
  if a[9] then return call('ZREVRANGEBYLEX', ACT, a[2] and '(' .. a[2] or '+', '-', 'LIMIT', 0, chunk) end
  local key = a[1] and K .. 'i:' .. a[1] or K .. 'i'
  local low, high = 0, call('LLEN', key)
  if a[2] then
    while low < high do
      local middle = math.floor((low + high) / 2)
      if call('LINDEX', key, middle) < a[2] then low = middle + 1 else high = middle end
    end
  else low = high end
  if low == 0 then return {} end
  local ids, list = call('LRANGE', key, math.max(0, low - chunk), low - 1), {}
  for at = #ids, 1, -1 do list[#list + 1] = ids[at] end
  return list
end

local function fitsJob(a, st, row)
  if a[1] and st[TENANT] ~= a[1] then return false end
  if st[SUBMITTED] < a[5] or (a[6] and st[SUBMITTED] >= a[6]) then return false end
  if #a[4] == 0 then return true end
  for _, state in ipairs(a[4]) do
    if state == row[STATE] then return true end
  end
  return false
end

steps.scanJobs = function(a)
  flush()
  local list, looked, bytes = {}, 0, 0
  while looked < a[8] do
    local ids = idsBefore(a, 100)
    if #ids == 0 then return { list, false } end
    for _, id in ipairs(ids) do
      if id < a[3] then return { list, false } end
      looked, a[2] = looked + 1, id
      local st = loadWhole(id)
      if st and fitsJob(a, st, loadRow(id)) then
        local job = showJob(id)
        list[#list + 1] = job
        bytes = bytes + #job[2] + (st[12] or 0)
        if #list == a[7] or bytes > 4194304 then return { list, id } end
      end
    end
  end
  return { list, a[2] }
end

-- Which of what is due goes: at most so many.
local function sweep(key, now, left, remove)
  local due = call('ZRANGEBYSCORE', K .. key, '-inf', now, 'LIMIT', 0, left)
  for _, member in ipairs(due) do
    remove(member)
    call('ZREM', K .. key, member)
  end
  return left - #due
end

-- Forgets the oldest ids of jobs that are gone.
local function trim(key)
  for _ = 1, 2000 do
    local id = call('LINDEX', key, 0)
    if not id or call('HEXISTS', S, id) == 1 then return end
    call('LPOP', key)
  end
end

local function sweepJobs(now, left)
  local tenants = {}
  left = sweep('xj', now, left, function(id)
    local st = loadWhole(id)
    if st then
      tenants[st[TENANT]] = true
      discard(st[11])
    end
    call('HDEL', S, id)
    call('HDEL', J, id)
  end)
  trim(K .. 'i')
  for tenant in pairs(tenants) do trim(K .. 'i:' .. tenant) end
  return left
end

local function sweepAudit(now, left)
  left = sweep('xa', now, left, function(member) call('HDEL', K .. 'a', string.format('%.0f', tonumber(member))) end)
  local first, last = tonumber(call('GET', K .. 'af') or '1'), tonumber(call('GET', K .. 'an') or '0')
  local from = first
  while first <= last and first < from + 2000 and call('HEXISTS', K .. 'a', first) == 0 do first = first + 1 end
  if first > from then call('SET', K .. 'af', first) end
  return left
end

-- The token with the greatest id stays.
local function sweepTokens(now, left)
  local last = call('ZREVRANGE', K .. 'ti', 0, 0)[1]
  for _, id in ipairs(call('ZRANGEBYSCORE', K .. 'xt', '-inf', now, 'LIMIT', 0, left + 1)) do
    if id ~= last and left > 0 then
      call('HDEL', K .. 't', id)
      call('ZREM', K .. 'ti', id)
      call('ZREM', K .. 'xt', id)
      left = left - 1
    end
  end
  return left
end

-- Large specs whose submit never came, or came to nothing.
local function sweepPut(now)
  for _, ref in ipairs(call('ZRANGEBYSCORE', K .. 'put', '-inf', now - 86400000, 'LIMIT', 0, 200)) do
    discard(ref)
    forgetPut(ref)
  end
end

steps.expire = function(a)
  local now, left = a[1], a[2]
  flush()
  sweepPut(now)
  left = sweepJobs(now, left)
  left = sweep('xw', now, left, function(id)
    call('HDEL', W, id)
    call('ZREM', K .. 'wa', id)
    workers[id] = nil
  end)
  left = sweep('xk', now, left, function(field) call('HDEL', K .. 'k', field) end)
  left = sweepAudit(now, left)
  left = sweep('xe', now, left, function(member)
    local sequence, name = string.match(member, '^0*(%d+)|(.*)$')
    call('HDEL', K .. 'pe:' .. name, sequence)
  end)
  return a[2] - sweepTokens(now, left)
end

steps.listTrash = function(a) return call('SRANDMEMBER', K .. 'trash', a[1]) end

steps.dropTrash = function(a)
  for _, ref in ipairs(a[1]) do call('SREM', K .. 'trash', ref) end
  return true
end

steps.findProvider = function(a) return call('HGET', K .. 'p', a[1]) end

steps.listProviders = function()
  local list = {}
  for at, raw in ipairs(call('HVALS', K .. 'p')) do list[at] = raw end
  return list
end

-- { name, version that it has now, row }; version 0: it is new
steps.putProvider = function(a)
  local raw = call('HGET', K .. 'p', a[1])
  if (raw and U(raw)[1] or 0) ~= a[2] then return false end
  call('HSET', K .. 'p', a[1], a[3])
  tell('p', a[1])
  return true
end

steps.removeProvider = function(a)
  local name, live = a[1], 0
  if call('HEXISTS', K .. 'p', name) == 0 then return refuse('not_found', 'there is no provider ' .. name) end
  for _, id in ipairs(call('ZRANGE', K .. 'wl', 0, -1)) do
    if loadWorker(id)[WPROVIDER] == name then live = live + 1 end
  end
  if live > 0 then return live end
  for _, sequence in ipairs(call('HKEYS', K .. 'pe:' .. name)) do
    call('ZREM', K .. 'xe', string.format('%016.0f', tonumber(sequence)) .. '|' .. name)
  end
  call('DEL', K .. 'pe:' .. name)
  call('HDEL', K .. 'p', name)
  call('HDEL', K .. 'ps', name)
  tell('p', name)
  return 0
end

-- { { provider, row } }
steps.saveProviderStates = function(a)
  for _, given in ipairs(a[1]) do
    if call('HEXISTS', K .. 'p', given[1]) == 1 then call('HSET', K .. 'ps', given[1], given[2]) end
  end
  return true
end

steps.listProviderStates = function()
  local list = {}
  for at, raw in ipairs(call('HVALS', K .. 'ps')) do list[at] = raw end
  return list
end

local function cutEvents(key, name, most)
  local sequences = call('HKEYS', key)
  if #sequences <= most then return end
  table.sort(sequences, function(one, other) return tonumber(one) < tonumber(other) end)
  for at = 1, #sequences - most do
    call('HDEL', key, sequences[at])
    call('ZREM', K .. 'xe', string.format('%016.0f', tonumber(sequences[at])) .. '|' .. name)
  end
end

-- { { provider, event, expires }, most of one provider }
steps.appendProviderEvents = function(a)
  for _, given in ipairs(a[1]) do
    local name = given[1]
    if call('HEXISTS', K .. 'p', name) == 1 then
      local sequence, key = call('INCR', K .. 'en'), K .. 'pe:' .. name
      call('HSET', key, sequence, given[2])
      call('ZADD', K .. 'xe', given[3], string.format('%016.0f', sequence) .. '|' .. name)
      if call('HLEN', key) > a[2] then cutEvents(key, name, a[2]) end
    end
  end
  return true
end

steps.listProviderEvents = function(a)
  local all, list = call('HGETALL', K .. 'pe:' .. a[1]), {}
  for at = 1, #all, 2 do list[#list + 1] = { tonumber(all[at]), all[at + 1] } end
  return list
end
`;
