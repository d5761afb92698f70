/** Steps of the servers that share an instance. All times are those of Redis' own clock. */
export const luaReplicas = String.raw`
local LEAD = K .. 'lead'
local lead

local function loadLead()
  if not lead then
    local found = call('HMGET', LEAD, 'term', 'leader', 'until')
    lead = { term = tonumber(found[1] or '0'), leader = found[2] or '', ends = tonumber(found[3] or '0') }
  end
  return lead
end

-- Whether the steps of the term are to be refused.
local function isDeposed(term)
  local known = loadLead()
  return known.leader == '' or known.term ~= tonumber(term)
end

do
  local function whole(number) return string.format('%.0f', number) end
  local function micros()
    local time = call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
  end
  local function millis() return math.floor(micros() / 1000) end

  local function saveLead()
    call('HSET', LEAD, 'term', whole(lead.term), 'leader', lead.leader, 'until', whole(lead.ends))
  end

  local function resign(id)
    if loadLead().leader ~= id then return end
    lead.leader = ''
    saveLead()
    tell('l', '')
  end

  -- { id, for how long }. A term is a time too, so that a failover that loses one never gives it again.
  steps.lead = function(a)
    local id, now = a[1], millis()
    loadLead()
    if lead.leader ~= id and (lead.leader == '' or lead.ends <= now) then
      lead.term, lead.leader = math.max(lead.term + 1, now), id
      tell('l', id)
    end
    if lead.leader == id then
      lead.ends = now + a[2]
      saveLead()
    end
    return { lead.term, lead.leader }
  end

  steps.resign = function(a)
    resign(a[1])
    return true
  end

  -- { id, address, when it started, for how long }
  steps.beat = function(a)
    local now, list = millis(), {}
    for _, id in ipairs(call('ZRANGEBYSCORE', K .. 'alive', '-inf', now)) do
      call('ZREM', K .. 'alive', id)
      call('HDEL', K .. 'replicas', id)
    end
    call('ZADD', K .. 'alive', whole(now + a[4]), a[1])
    call('HSET', K .. 'replicas', a[1], P({ a[1], a[2], a[3] }))
    for at, raw in ipairs(call('HVALS', K .. 'replicas')) do list[at] = U(raw) end
    return list
  end

  steps.leave = function(a)
    call('ZREM', K .. 'alive', a[1])
    call('HDEL', K .. 'replicas', a[1])
    resign(a[1])
    return true
  end

  -- { name, value }
  steps.keep = function(a)
    call('HSETNX', K .. 'kept', a[1], a[2])
    return call('HGET', K .. 'kept', a[1])
  end

  steps.findKept = function(a) return call('HGET', K .. 'kept', a[1]) end

  -- A position is a time too, so that it grows also when a failover loses some.
  steps.hear = function(a)
    local live = call('ZMSCORE', K .. 'wl', unpack(a[1]))
    local last, placed = math.max(tonumber(call('GET', K .. 'hn') or '0'), micros()), {}
    for at, id in ipairs(a[1]) do
      if live[at] then
        last = last + 1
        placed[#placed + 1], placed[#placed + 2] = whole(last), id
      end
    end
    if #placed == 0 then return true end
    call('ZADD', K .. 'heard', unpack(placed))
    call('SET', K .. 'hn', whole(last))
    return true
  end

  -- { after, limit }
  steps.listHeard = function(a)
    local found = call('ZRANGEBYSCORE', K .. 'heard', '(' .. whole(a[1]), '+inf', 'WITHSCORES', 'LIMIT', 0, a[2])
    local ids, last = {}, a[1]
    for at = 1, #found, 2 do ids[#ids + 1], last = found[at], tonumber(found[at + 1]) end
    return { ids, last }
  end
end
`;
