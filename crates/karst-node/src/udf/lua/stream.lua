-- Streams: what a stream function makes of a stream is a list of operations, and is carried out afterwards.
--
-- A node runs them up to and including the first reduce; what follows is the client's. A record that comes in is
-- looked at and not changed.

local host, K, raw, V = ...

local rawget, list, map, type = raw.rawget, list, map, type

-- A number that an aggregate has counted up to is passed on, and counting begins anew.
local COUNTED_MAX = 1000

local Stream = { name = "Stream" }
local Ops = {}

local function adds(kind)
	return function(stream, ...)
		local ops = rawget(stream, K)
		raw.insert(ops, { kind = kind, ... })
		return stream
	end
end

for _, kind in raw.ipairs({ "filter", "map", "aggregate", "reduce" }) do
	Ops[kind] = adds(kind)
end

function Ops.groupby(stream, f)
	local function gather(groups, v)
		local k = f and f(v) or nil
		local group = groups[k]
		if group == nil then
			group = list()
			groups[k] = group
		end
		list.append(group, v)
		return groups
	end
	local function join(a, b)
		return map.merge(a, b, list.merge)
	end
	return stream:aggregate(map(), gather):reduce(join)
end

Stream.__index = Ops

local function cloned(v)
	local what = raw.type(v)
	if V.is(V.List, v) then
		return list.clone(v)
	elseif V.is(V.Map, v) then
		return map.clone(v)
	elseif what == "table" and type(v) == "table" then
		local copy = {}
		for k, e in raw.next, v do
			copy[k] = e
		end
		return copy
	elseif what == "table" or what == "function" then
		return nil
	end
	return v
end

local stages = {}

function stages.filter(next, p)
	return function()
		while true do
			local v = next()
			if v == nil then
				return nil
			end
			if p(v) then
				return v
			end
		end
	end
end

function stages.map(next, f)
	return function()
		local v = next()
		if v ~= nil then
			return f(v)
		end
	end
end

function stages.aggregate(next, init, f)
	local ended = false
	return function()
		if ended then
			return nil
		end
		local a = cloned(init)
		while true do
			local v = next()
			if v == nil then
				ended = true
				return a
			end
			a = f(a, v)
			if raw.type(a) == "number" and a >= COUNTED_MAX then
				return a
			end
		end
	end
end

function stages.reduce(next, f)
	local ended = false
	return function()
		if ended then
			return nil
		end
		ended = true
		local a = next()
		if a == nil then
			return nil
		end
		while true do
			local v = next()
			if v == nil then
				return a
			end
			a = f(a, v)
		end
	end
end

-- Calls a stream function and carries out what it asks for: `source` gives the values, `sink` takes the results.
local function run(f, source, sink, ...)
	local stream = raw.setmetatable({ [K] = {} }, Stream)
	local asked = f(stream, ...)
	if raw.type(asked) ~= "table" or raw.getmetatable(asked) ~= Stream then
		raw.error("a stream function has to return the stream", 0)
	end
	local next = source
	for _, op in raw.ipairs(rawget(asked, K)) do
		next = stages[op.kind](next, op[1], op[2])
		if op.kind == "reduce" then
			break
		end
	end
	while true do
		local v = next()
		if v == nil then
			return
		end
		sink(v)
	end
end

return run
