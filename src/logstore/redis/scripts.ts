import { createHash } from "node:crypto";

/**
 * What is known of a log is one hash, and its newer batches are one stream, both in one slot of a cluster. Fields of the hash:
 * `h` newest batch and totals · `n` tenant · `e` how it ended · `t` newest sealed batch and its total · `d` newest batch that the quota removed
 * `s<first batch>` a segment · `i` when and as what somebody began to seal · `g<name>` an object that is to be deleted
 */
const sources = {
  /** Adds a batch behind the one that the caller believes to be the newest. */
  append: `
local found = redis.call('HMGET', KEYS[1], 'h', 'e')
local head = found[1] or ''
if found[2] then return {'ended', head} end
if head ~= ARGV[1] then return {'other', head} end
redis.call('XADD', KEYS[2], ARGV[3], 'h', ARGV[4], 'p', ARGV[5])
if head == '' then redis.call('HSET', KEYS[1], 'h', ARGV[2], 'n', ARGV[6])
else redis.call('HSET', KEYS[1], 'h', ARGV[2]) end
redis.call(ARGV[8], ARGV[7], '')
return {'ok'}`,

  end: `
if redis.call('HSETNX', KEYS[1], 'e', ARGV[1]) == 0 then return 0 end
redis.call(ARGV[3], ARGV[2], '')
return 1`,

  /** Begins to seal, unless somebody else began a short while ago. What an earlier one left is garbage from now on. */
  claim: `
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = redis.call('HGET', KEYS[1], 'i')
if before then
  local at, name = string.match(before, '^(%d+) (.*)$')
  if math.abs(now - at) < tonumber(ARGV[2]) then return 'busy' end
  redis.call('HSET', KEYS[1], 'g' .. name, '')
end
redis.call('HSET', KEYS[1], 'i', string.format('%.0f %s', now, ARGV[1]))
return 'ok'`,

  /** Says that whoever has begun to seal is still at it. */
  renew: `
local claim = redis.call('HGET', KEYS[1], 'i')
if not claim or string.match(claim, ' (.*)$') ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'i', string.format('%.0f %s', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1]))
return 1`,

  /** Replaces the oldest batches of the stream by a segment that is stored, or by nothing, and drops segments. */
  commit: `
local claim = redis.call('HGET', KEYS[1], 'i')
if not claim or string.match(claim, ' (.*)$') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'i')
redis.call('HSET', KEYS[1], 't', ARGV[2], 'd', ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], ARGV[5], ARGV[6]) end
for at = 7, #ARGV, 2 do
  redis.call('HDEL', KEYS[1], ARGV[at])
  redis.call('HSET', KEYS[1], 'g' .. ARGV[at + 1], '')
end
redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[3])
if redis.call('XLEN', KEYS[2]) == 0 then redis.call('DEL', KEYS[2]) end
return 1`,

  /** Gives up sealing; whether the object was stored is not known. */
  release: `
local claim = redis.call('HGET', KEYS[1], 'i')
if not claim or string.match(claim, ' (.*)$') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'i')
redis.call('HSET', KEYS[1], 'g' .. ARGV[1], '')
return 1`,

  /** Deletes a log that ended as the caller says. */
  forget: `
if redis.call('HGET', KEYS[1], 'e') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('UNLINK', KEYS[2])
redis.call(ARGV[3], ARGV[2], '')
return 1`,

  /** Takes what logs hold now into the sums: bytes in Redis, bytes in the archive, bytes of each tenant. Gives the first two. */
  report: `
for at = 1, #ARGV, 4 do
  local attempt, tenant = ARGV[at], ARGV[at + 1]
  local memory, archived = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local before = redis.call('HGET', KEYS[2], attempt)
  local was, had = 0, 0
  if before then was, had, tenant = string.match(before, '^(%d+) (%d+) (.*)$') end
  if memory + archived == 0 then redis.call('HDEL', KEYS[2], attempt)
  else redis.call('HSET', KEYS[2], attempt, string.format('%.0f %.0f %s', memory, archived, tenant)) end
  redis.call('HINCRBY', KEYS[1], '#memory', string.format('%.0f', memory - was))
  redis.call('HINCRBY', KEYS[1], '#archive', string.format('%.0f', archived - had))
  if tenant ~= '' then
    local sum = redis.call('HINCRBY', KEYS[1], 't' .. tenant, string.format('%.0f', memory + archived - was - had))
    if sum == 0 then redis.call('HDEL', KEYS[1], 't' .. tenant) end
  end
end
local sums = redis.call('HMGET', KEYS[1], '#memory', '#archive')
return {sums[1] or '0', sums[2] or '0'}`,

  /** Whether the caller is the one that looks after ended logs, which it stays for a while. */
  lead: `
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`,
} as const;

export type ScriptName = keyof typeof sources;

export const scripts: Readonly<
  Record<ScriptName, { readonly text: string; readonly hash: string }>
> = Object.fromEntries(
  Object.entries(sources).map(([name, text]) => [
    name,
    { text, hash: createHash("sha1").update(text).digest("hex") },
  ]),
) as never;
