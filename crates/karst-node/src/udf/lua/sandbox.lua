-- What a script may not do is taken away here, before any script runs; what could keep a thread busy inside of
-- C is bounded. `host` is what the node lends, `K` the key under which objects keep what is theirs.

local host, K = ...

local raw = {
	error = error, getmetatable = getmetatable, ipairs = ipairs, load = load, next = next, pcall = pcall,
	rawget = rawget, rawlen = rawlen, rawset = rawset, select = select, setmetatable = setmetatable,
	tostring = tostring, type = type,
	concat = table.concat, insert = table.insert, move = table.move, remove = table.remove, sort = table.sort,
	unpack = table.unpack, byte = string.byte, char = string.char, find = string.find, format = string.format, gsub = string.gsub,
	pack = string.pack, rep = string.rep, sub = string.sub, sunpack = string.unpack,
	mtype = math.type, tointeger = math.tointeger,
	resume = coroutine.resume, wrap = coroutine.wrap, close = coroutine.close, yield = coroutine.yield,
}

-- Files, bytecode and the collector are out of reach.
dofile, loadfile, print = nil, nil, nil
string.dump = nil

function load(chunk, name, _, ...)
	return raw.load(chunk, name, "t", ...)
end

function collectgarbage(what)
	if what == "count" then
		return host.memory() / 1024
	end
	return 0
end

-- A script whose time is over must not go on because it catches errors.
local function unless_late(...)
	if host.late() then
		raw.error(host.timeout, 0)
	end
	return ...
end

function pcall(...)
	return unless_late(raw.pcall(...))
end

-- A handler that was called where the error is raised would run where no limit holds, if it is a limit that was
-- hit: it is called afterwards.
local function handled(handler, ok, ...)
	if host.late() then
		raw.error(host.timeout, 0)
	end
	if ok then
		return true, ...
	end
	return false, handler(...)
end

function xpcall(f, handler, ...)
	return handled(handler, raw.pcall(f, ...))
end

function coroutine.resume(...)
	return unless_late(raw.resume(...))
end

function coroutine.close(...)
	return unless_late(raw.close(...))
end

-- Finalizers run where no limit holds.
function setmetatable(t, mt)
	if raw.type(mt) == "table" and raw.rawget(mt, "__gc") ~= nil then
		raw.error("__gc is not allowed", 2)
	end
	return raw.setmetatable(t, mt)
end

-- These loop inside of C as often as a length says that a script can make up.
local MOVES_MAX = 1 << 24

local function plain(t, name)
	if raw.type(t) == "table" and raw.getmetatable(t) ~= nil then
		raw.error("bad argument #1 to '" .. name .. "' (a table without a metatable expected)", 3)
	end
end

function table.insert(t, ...)
	plain(t, "insert")
	return raw.insert(t, ...)
end

function table.remove(t, ...)
	plain(t, "remove")
	return raw.remove(t, ...)
end

function table.sort(t, ...)
	plain(t, "sort")
	return raw.sort(t, ...)
end

function table.concat(t, ...)
	plain(t, "concat")
	return raw.concat(t, ...)
end

function table.move(from, first, last, to, ...)
	plain(from, "move")
	first, last = raw.tointeger(first), raw.tointeger(last)
	if not first or not last or (last >= first and last - first >= MOVES_MAX) or last - first < 0 and last >= first then
		raw.error("too many elements to move", 2)
	end
	return raw.move(from, first, last, to, ...)
end

-- Of the operating system only clocks.
os = { clock = os.clock, date = os.date, difftime = os.difftime, time = os.time }

-- `type` tells of objects what scripts expect.
local objects = {}

function type(...)
	local what = raw.type(...)
	if what == "table" and objects[raw.getmetatable((...))] then
		return "userdata"
	end
	return what
end

function math.sum(a, b)
	return a + b
end

function math.product(a, b)
	return a * b
end

-- Lines for the node's log. `debug` is the function, not the library.
local function logs(level)
	return function(text, ...)
		if raw.select("#", ...) > 0 then
			text = raw.format(text, ...)
		end
		host.log(level, raw.tostring(text))
	end
end

trace, debug, info, warn = logs(4), logs(3), logs(2), logs(1)
print = info

-- Modules that are registered beside this one.
local loaded = {}

function require(name)
	if loaded[name] == nil then
		local chunk = host.module(name)
		loaded[name] = true
		local value = chunk(name)
		if value ~= nil then
			loaded[name] = value
		end
	end
	return loaded[name]
end

package = { loaded = loaded, path = "", cpath = "" }

return raw, objects
