"""The Lua scripts of the sandbox store. Each is atomic, names all its keys, and may run twice.

A command whose connection drops is sent again, though Redis may have run it the first time. So
every record written carries a revision of its own, and a script that finds its own record already
there answers as it did then.
"""

# KEYS: record, live, expiry, owner (the live index again if there is no owner)
# ARGV: record, id, created µs, expires µs, most sandboxes, most of this owner (0: no limit)
# Answers "ok", "taken", "full" or "owner".
RESERVE = """
local present = redis.call('GET', KEYS[1])
if present == ARGV[1] then return 'ok' end
if present then return 'taken' end
local most, most_owned = tonumber(ARGV[5]), tonumber(ARGV[6])
if most > 0 and redis.call('ZCARD', KEYS[2]) >= most then return 'full' end
if most_owned > 0 and redis.call('ZCARD', KEYS[4]) >= most_owned then return 'owner' end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[2])
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[2])
return 'ok'
"""

# KEYS: record, expiry
# ARGV: record as it was read, new record, id, expires µs
# Answers 1 if the record is the new one, 0 if another has changed it meanwhile.
REPLACE = """
local present = redis.call('GET', KEYS[1])
if present == ARGV[2] then return 1 end
if present ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
return 1
"""

# KEYS: record, live, expiry, owner, ended
# ARGV: record as it was read, new record, id, ended µs, retention ms, oldest µs to keep in the
#       ended index, most to keep in it
# Answers as REPLACE.
END = """
local present = redis.call('GET', KEYS[1])
if present == ARGV[2] then return 1 end
if present ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[5])
redis.call('ZREM', KEYS[2], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[3])
redis.call('ZREM', KEYS[4], ARGV[3])
redis.call('ZADD', KEYS[5], ARGV[4], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', '(' .. ARGV[6])
redis.call('ZREMRANGEBYRANK', KEYS[5], 0, -1 - tonumber(ARGV[7]))
redis.call('PEXPIRE', KEYS[5], ARGV[5])
return 1
"""

# Take what has no readable record out of the indexes, unless it has changed since it was read.
# KEYS: record, live, expiry, owner
# ARGV: record as it was read (empty: there was none), id, retention ms
BURY = """
local present = redis.pcall('GET', KEYS[1])
if type(present) == 'table' then present = '' end
if ARGV[1] ~= (present or '') then return 0 end
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
