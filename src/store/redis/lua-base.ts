import { stages } from "#job/failure.ts";
import { jobStates, moves } from "#job/state.ts";
import { markSeconds } from "./mark.ts";

/**
 * Every step runs inside one Lua script, so that Redis does a whole batch of steps or none of it. This part has what all steps share.
 *
 * Keys (behind `hodei:{instance}:`), all in one slot:
 * n last job number · s jobs as submitted (hash) · j jobs that changed since (hash) · i, i:<tenant> ids in order (lists) · due, act, xj (sorted sets):
 * deadlines, jobs on workers, ends of records · q:<tenant>:<class> what may be claimed, b:<tenant>:<class> what backs off (both: higher priority, then
 * older, first) · delayed: until when · turn:<class>, idle:<class> whose turn it is · kinds, queued counts · k, xk idempotency keys · w, wa, wl, xw
 * workers · plan: jobs for which workers are expected · t, ti, xt tokens · a, xa audit · p providers · pe:<name>, xe their events · trash large specs
 * without a job, put those that wait for theirs (in a cluster) · mark:<process> the last batch of each process that changed something · lead who leads · replicas, alive (until when) the servers · hn, heard the order in which workers were heard
 */
export const luaBase = String.raw`
-- What closures of a running function take is looked for one by one; what they take of one that is over is at hand.
local function open(K)
local call, P, U = redis.call, cmsgpack.pack, cmsgpack.unpack
local S, J, DUE, ACT, W, PLAN = K .. 's', K .. 'j', K .. 'due', K .. 'act', K .. 'w', K .. 'plan'
local KINDS, QUEUED, DELAYED = K .. 'kinds', K .. 'queued', K .. 'delayed'
local head = U(ARGV[1])
local maxEvents, weights = head[1], {}
for _, pair in ipairs(head[2]) do weights[pair[1]] = pair[2] end

local TENANT, CLASS, PRIORITY, SUBMITTED, FIRST_DEADLINE = 1, 2, 3, 4, 5
local STATE, VERSION, STATE_AT, NOT_BEFORE, DEADLINE, ENDED_AT, EXPIRES = 1, 2, 3, 4, 5, 6, 7
local SPENT, INFRA, TRIES, ATTEMPT, WORKER, PROVIDER, ASSIGNED, STARTED = 8, 9, 10, 11, 12, 13, 14, 15
local SEQUENCE, KEPT, FAILURE, ENDED, HISTORY = 16, 17, 18, 19, 20
${numbers("JOB", jobStates)}
${numbers("STAGE", stages)}
local moves = {${Object.entries(moves).map(luaMove).join(", ")}}
local steps = {}

-- What others may want to know of, once for each script.
local news, told = {}, {}
local function tell(kind, id)
  local item = kind .. id
  if told[item] then return end
  told[item] = true
  news[#news + 1] = item
end

-- What a script changes often is kept here until its end, or until something reads it from the keys.
local counts, pushes, workers, dirty, lastNumber = {}, {}, {}, {}, nil

local function count(key, field, change)
  local fields = counts[key] or {}
  counts[key] = fields
  fields[field] = (fields[field] or 0) + change
end

local function push(key, value)
  local list = pushes[key] or {}
  pushes[key] = list
  list[#list + 1] = value
end

-- What a step writes to many members of a key is gathered until its end, and the same step does not read it back.
local late = { HSET = {}, ZADD = {}, ZREM = {} }

local function later(command, key, ...)
  local list = late[command][key] or {}
  late[command][key] = list
  for at = 1, select('#', ...) do list[#list + 1] = (select(at, ...)) end
end

-- In parts, since a call takes only so many arguments.
local function callEach(command, key, list)
  for from = 1, #list, 1000 do call(command, key, unpack(list, from, math.min(from + 999, #list))) end
end

local function writeLate()
  for command, keys in pairs(late) do
    for key, list in pairs(keys) do callEach(command, key, list) end
    late[command] = {}
  end
end

-- The fields in their order; false where there is none.
local function getAll(key, fields)
  local all = {}
  for from = 1, #fields, 1000 do
    for _, raw in ipairs(call('HMGET', key, unpack(fields, from, math.min(from + 999, #fields)))) do all[#all + 1] = raw end
  end
  return all
end

-- A number as Redis takes it; the same few times come again and again.
local numbers = {}
local function textOf(number)
  local text = numbers[number] or string.format('%.17g', number)
  numbers[number] = text
  return text
end

local function flush()
  for key, fields in pairs(counts) do
    for field, change in pairs(fields) do
      if change ~= 0 and call('HINCRBY', key, field, change) <= 0 then call('HDEL', key, field) end
    end
  end
  for key, list in pairs(pushes) do callEach('RPUSH', key, list) end
  for id in pairs(dirty) do call('HSET', W, id, P(workers[id])) end
  if lastNumber then call('SET', K .. 'n', string.format('%.0f', lastNumber)) end
  counts, pushes, dirty, lastNumber = {}, {}, {}, nil
end

-- The worker, to be changed only with a call of markWorker.
local function getWorker(id)
  local w = workers[id]
  if w then return w end
  local raw = call('HGET', W, id)
  if not raw then return end
  w = U(raw)
  workers[id] = w
  return w
end

local function markWorker(id)
  dirty[id] = true
  tell('w', id)
end

-- An answer that is an error.
local function refuse(code, message) return { 'error', code, message } end

-- A job that nothing has happened to has no row of its own.
local function fresh(st)
  local at = st[SUBMITTED]
  return { 0, 1, at, at, st[FIRST_DEADLINE], false, false, 0, 0, 0, false, false, false, false, false, 1, 1, false, '', '' }
end

-- What the queue wants of it. The rest, which may be long, would be copied for nothing.
local function readStatic(raw) return { select(2, cmsgpack.unpack_limit(raw, 5, 1)) } end

local function loadStatic(id)
  local raw = call('HGET', S, id)
  if raw then return readStatic(raw), raw end
end

local function loadWhole(id)
  local raw = call('HGET', S, id)
  if raw then return U(raw) end
end

local function loadRow(id)
  local raw = call('HGET', J, id)
  if raw then return U(raw) end
  local st = loadStatic(id)
  if st then return fresh(st) end
end

local function saveRow(id, row)
  call('HSET', J, id, P(row))
  tell('j', id)
end

local function saveRowLater(id, row)
  later('HSET', J, id, P(row))
  tell('j', id)
end

-- The job as the reader decodes it.
local function showJob(id) return { id, call('HGET', S, id), call('HGET', J, id) } end

-- As boundEvents: the first quarter stays, and the newest half. The first event is not in the row.
local function shorten(row)
  local events = { U(row[HISTORY]) }
  local first = math.max(1, math.floor(maxEvents / 4)) - 1
  local from = #events - math.max(1, math.floor(maxEvents / 2)) + 1
  local before = first > 0 and events[first][1] or 1
  if events[from][1] <= before then return end
  events[from][10] = events[from][1] - before - 1
  local kept = {}
  for at = 1, #events do
    if at <= first or at >= from then kept[#kept + 1] = P(events[at]) end
  end
  row[HISTORY] = table.concat(kept)
  row[KEPT] = #kept + 1
end

local function addEvent(row, event)
  row[SEQUENCE] = row[SEQUENCE] + 1
  row[KEPT] = row[KEPT] + 1
  row[HISTORY] = row[HISTORY] .. P({ row[SEQUENCE], row[VERSION], event.at, row[STATE], event.stage, event.attempt,
    event.worker or false, event.message, event.failure or false, 0 })
  if row[KEPT] > maxEvents then shorten(row) end
end

local function stageOf(to, before)
  if to >= JOB_succeeded then return STAGE_ended end
  local at = to == JOB_cancelling and before or to
  if at == JOB_starting then return STAGE_preparing end
  return at == JOB_queued and STAGE_queued or STAGE_running
end

-- Makes one move: the new state, one more version, one event.
local function move(row, name, change)
  local before, to = row[STATE], moves[name].to
  if not moves[name].from[before] then error('a job in state ' .. before .. ' cannot ' .. name) end
  row[STATE], row[VERSION], row[STATE_AT] = to, row[VERSION] + 1, change.now
  if to >= JOB_succeeded then row[ENDED_AT], row[DEADLINE] = change.now, false end
  addEvent(row, { at = change.now, stage = stageOf(to, before), attempt = row[ATTEMPT] and row[TRIES] or 0,
    worker = row[WORKER], message = change.message, failure = change.failure })
end

-- To be called after the move that ends it, so that its event names the attempt.
local function endAttempt(row, done)
  if not row[ATTEMPT] then return end
  row[ENDED] = row[ENDED] .. P({ row[ATTEMPT], row[TRIES], row[WORKER], row[PROVIDER], row[ASSIGNED],
    row[STARTED] or done.started or false, done.at, done.exit or false, done.signal or false,
    done.failure or false, done.peak or false, done.price or 0 })
  row[ATTEMPT], row[WORKER], row[PROVIDER], row[ASSIGNED], row[STARTED] = false, false, false, false, false
end

return function()
`;

/**
 * Does the steps in turn; each is a name, the term that it is bound to if it is not empty, how many texts come with it, its packed arguments, and these texts. Before them come who
 * asks and the number of the batch, which is kept if it has changed something; the last answer says whether. A step with texts gets where they are, and one that gives some has them
 * behind its answer: packed, each would be copied and hashed once more.
 */
export const luaRun = String.raw`
-- The large specs that came with it are there already.
local function refuseStep(name, a)
  if name == 'submitJobs' then
    for _, job in ipairs(a[1]) do
      discard(job[9])
      forgetPut(job[9])
    end
  end
  return { 'fault', 'DEPOSED' }
end

local function doStep(name, a, texts)
  local answer, more = steps[name](a, texts)
  writeLate()
  return answer, more
end

local answers, at = {}, 4
while at <= #ARGV do
  local name, term, a = ARGV[at], ARGV[at + 1], U(ARGV[at + 3])
  local isDone, answer, more
  if term ~= '' and isDeposed(term) then isDone, answer = true, refuseStep(name, a)
  else isDone, answer, more = pcall(doStep, name, a, at + 3) end
  if not isDone then
    answer, more = { 'fault', type(answer) == 'table' and answer.err or tostring(answer) }, nil
    late = { HSET = {}, ZADD = {}, ZREM = {} }
  end
  if more then table.insert(more, 1, P(answer)) end
  answers[#answers + 1] = more or P(answer)
  at = at + 4 + tonumber(ARGV[at + 2])
end
flush()
if #news > 0 then
  call('PUBLISH', K .. 'news', P(news))
  local mark = K .. 'mark:' .. ARGV[2]
  -- A batch that was on its way for long may come behind a later one.
  if tonumber(ARGV[3]) > tonumber(call('GET', mark) or '0') then call('SET', mark, ARGV[3], 'EX', ${markSeconds}) end
end
answers[#answers + 1] = P(#news > 0)
return answers
end
end
return open(KEYS[1])()
`;

function numbers(prefix: string, names: readonly string[]): string {
  const list = names.map((name) => `${prefix}_${name}`).join(", ");
  return `local ${list} = ${names.map((_, at) => at).join(", ")}`;
}

function luaMove([name, { from, to }]: [string, (typeof moves)["start"]]): string {
  const states = from.map((state) => `[${jobStates.indexOf(state)}] = true`).join(", ");
  return `${name} = { from = { ${states} }, to = ${jobStates.indexOf(to)} }`;
}
