-- Streams: what a function makes of the records of a query, some of them at a time.
--
-- A stream is a row of steps that a script puts together. When its function has returned it, values are drawn through
-- them one by one: each step is a function that gives the next value, nil at the end, and draws from the one before
-- it. Steps behind the first `reduce` are the client's.

local host, K, raw, V, enter = ...

local list, map = list, map
local create_list, append, merge_lists, clone_list = list.create, list.append, list.merge, list.clone
local create_map, merge_maps, clone_map = map.create, map.merge, map.clone
local rawget = raw.rawget

local Stream = { name = "Stream" }

-- A number from which on an aggregate is given away and begun anew.
local ENOUGH = 1000

-- A fresh copy of what an aggregate begins with.
local function cloned(init)
	local what = raw.type(init)
	if what == "number" or what == "string" or what == "boolean" then
		return init
	elseif what ~= "table" then
		return nil
	elseif V.is(V.List, init) then
		return clone_list(init)
	elseif V.is(V.Map, init) then
		return clone_map(init)
	elseif V.is(V.Bytes, init) or V.is(V.GeoJSON, init) or V.is(V.Record, init) then
		return nil
	end
	local copy = {}
	for k, v in raw.next, init do
		copy[k] = v
	end
	return copy
end

local steps = {}

function steps.filter(up, keeps)
	return function()
		for v in up do
			if keeps(v) then
				return v
			end
		end
	end
end

function steps.map(up, f)
	return function()
		local v = up()
		if v ~= nil then
			return f(v)
		end
	end
end

function steps.aggregate(up, init, f)
	local ended = false
	return function()
		if ended then
			return nil
		end
		local a = cloned(init)
		for v in up do
			a = f(a, v)
			if raw.type(a) == "number" and a >= ENOUGH then
				return a
			end
		end
		ended = true
		return a
	end
end

function steps.reduce(up, f)
	local ended = false
	return function()
		if ended then
			return nil
		end
		ended = true
		local a = up()
		if a ~= nil then
			for b in up do
				a = f(a, b)
			end
		end
		return a
	end
end

-- Adds a step to a stream and returns it.
local function add(s, kind, f, init, at)
	local row = V.of(Stream, s, kind)
	if raw.type(f) ~= "function" then
		raw.error("bad argument #" .. at .. " to '" .. kind .. "' (function expected, got " .. raw.type(f) .. ")", 3)
	end
	row.n = row.n + 1
	row[row.n] = { kind = kind, f = f, init = init }
	return s
end

local methods = {}
Stream.__index = methods

function methods.filter(s, keeps)
	return add(s, "filter", keeps, nil, 1)
end

function methods.map(s, f)
	return add(s, "map", f, nil, 1)
end

function methods.aggregate(s, init, f)
	return add(s, "aggregate", f, init, 2)
end

function methods.reduce(s, f)
	return add(s, "reduce", f, nil, 1)
end

function methods.groupby(s, f)
	local function group(m, v)
		local k = f(v)
		local l = m[k] or create_list()
		append(l, v)
		m[k] = l
		return m
	end
	local function merge(a, b)
		return merge_maps(a, b, merge_lists)
	end
	if raw.type(f) ~= "function" then
		raw.error("bad argument #1 to 'groupby' (function expected, got " .. raw.type(f) .. ")", 2)
	end
	return methods.reduce(methods.aggregate(s, create_map(), group), merge)
end

function Stream.__tostring()
	return "Stream()"
end

local function records()
	local facts = host.next()
	return facts and enter(facts)
end

local function drain(s)
	if not V.is(Stream, s) then
		raw.error("the function did not return its stream", 0)
	end
	local row, up = rawget(s, K), records
	for at = 1, row.n do
		local step = row[at]
		if step.kind == "aggregate" then
			up = steps.aggregate(up, step.init, step.f)
		else
			up = steps[step.kind](up, step.f)
		end
		if step.kind == "reduce" then
			break
		end
	end
	for v in up do
		host.give(v)
	end
end

local function stream()
	return V.new(Stream, { n = 0 })
end

return stream, drain
