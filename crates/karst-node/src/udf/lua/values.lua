-- Lists and maps. Each is an empty table that keeps its content under `K`, where a script does not see it, so that
-- every access passes through here and all memory is the state's own.
--
--   list: { t = elements, n = their number }
--   map:  { v = values by plain key, k = keys in order, p = places in `k` by plain key, n = number, m = places used,
--           f = the order flags with which it is stored }
--
-- NIL stands for nil inside of both. A map's keys are in the order in which they came; what comes from a bin
-- comes in key order.

local host, K, raw, objects = ...

local rawget, getmetatable, type = raw.rawget, raw.getmetatable, type
local NIL = raw.setmetatable({}, { __tostring = function() return "NIL" end })
local List, Map, Bytes, GeoJSON_, Record = { name = "List" }, { name = "Map" }, { name = "Bytes" }, { name = "GeoJSON" },
	{ name = "Record" }
for _, mt in raw.ipairs({ List, Map, Bytes, GeoJSON_, Record }) do
	objects[mt] = mt.name
end

local function is(mt, v)
	return raw.type(v) == "table" and getmetatable(v) == mt and rawget(v, K) ~= nil
end

-- The content of an object of this kind, or an error that names the function and the argument.
local function of(mt, v, name, at)
	if is(mt, v) then
		return rawget(v, K)
	end
	raw.error("bad argument #" .. (at or 1) .. " to '" .. name .. "' (" .. mt.name .. " expected, got "
		.. (v == nil and "nil" or type(v)) .. ")", 3)
end

local function new(mt, content)
	return raw.setmetatable({ [K] = content }, mt)
end

-- Whether a value can be an element. Records are left out without a word; what else is none is an error.
local function storable(v)
	local what = raw.type(v)
	if what == "table" then
		local mt = getmetatable(v)
		if mt == Record then
			return false
		end
		if objects[mt] then
			return true
		end
	elseif what == "number" or what == "string" or what == "boolean" or what == "nil" then
		return true
	end
	raw.error("a " .. what .. " cannot be stored", 3)
end

local function inward(v)
	if v == nil then
		return NIL
	end
	return v
end

local function outward(v)
	if v == NIL then
		return nil
	end
	return v
end

local function quoted(v)
	if raw.type(v) == "string" then
		return '"' .. v .. '"'
	end
	return raw.tostring(v)
end

-- A count or position that a script gives.
local function whole(v, name, at)
	local i = raw.tointeger(v)
	if i == nil then
		raw.error("bad argument #" .. at .. " to '" .. name .. "' (number expected, got " .. type(v) .. ")", 3)
	end
	return i
end

-- Lists

local list = raw.setmetatable({}, {
	__call = function(_, from)
		local t, n = {}, 0
		if raw.type(from) == "table" and not objects[getmetatable(from)] then
			for k, v in raw.next, from do
				if raw.type(k) == "number" and storable(v) then
					n = n + 1
					t[n] = v
				end
			end
		end
		return new(List, { t = t, n = n })
	end,
})

_G.list = list

function list.create()
	return new(List, { t = {}, n = 0 })
end

list.new = list.create

function list.size(l)
	return of(List, l, "size").n
end

function list.append(l, v)
	local c = of(List, l, "append")
	if storable(v) then
		c.n = c.n + 1
		c.t[c.n] = inward(v)
	end
end

local function insert(c, i, v)
	raw.move(c.t, i, c.n, i + 1)
	c.t[i] = inward(v)
	c.n = c.n + 1
end

function list.prepend(l, v)
	local c = of(List, l, "prepend")
	if storable(v) then
		insert(c, 1, v)
	end
end

function list.insert(l, i, v)
	local c = of(List, l, "insert")
	i = whole(i, "insert", 2)
	if i >= 1 and i <= c.n + 1 and storable(v) then
		insert(c, i, v)
	end
end

function list.remove(l, i)
	local c = of(List, l, "remove")
	i = whole(i, "remove", 2)
	if i >= 1 and i <= c.n then
		raw.move(c.t, i + 1, c.n, i)
		c.t[c.n] = nil
		c.n = c.n - 1
	end
end

function list.trim(l, i)
	local c = of(List, l, "trim")
	i = whole(i, "trim", 2)
	if i >= 1 then
		for at = c.n, i, -1 do
			c.t[at] = nil
		end
		c.n = c.n < i and c.n or i - 1
	end
end

local function slice(c, first, last)
	return new(List, { t = raw.move(c.t, first, last, 1, {}), n = last >= first and last - first + 1 or 0 })
end

function list.take(l, n)
	local c = of(List, l, "take")
	n = whole(n, "take", 2)
	if n > 0 then
		return slice(c, 1, n < c.n and n or c.n)
	end
end

function list.drop(l, n)
	local c = of(List, l, "drop")
	n = whole(n, "drop", 2)
	if n > 0 then
		return slice(c, n < c.n and n + 1 or c.n + 1, c.n)
	end
end

function list.concat(l, other)
	local c, d = of(List, l, "concat"), of(List, other, "concat", 2)
	local added = d.n
	raw.move(d.t, 1, added, c.n + 1, c.t)
	c.n = c.n + added
end

function list.clone(l)
	local c = of(List, l, "clone")
	return slice(c, 1, c.n)
end

function list.merge(l, other)
	of(List, other, "merge", 2)
	local merged = list.clone(l)
	list.concat(merged, other)
	return merged
end

function list.iterator(l)
	local c, at = of(List, l, "iterator"), 0
	return function()
		at = at + 1
		if at <= c.n then
			return outward(c.t[at])
		end
	end
end

function list.nbytes(l)
	of(List, l, "nbytes")
	return host.size(l)
end

-- Objects may hold themselves: text stops where a stored value must.
local DEPTH_MAX = 128
local depth = 0

local function nested(made)
	return function(v)
		if depth >= DEPTH_MAX then
			return "..."
		end
		depth = depth + 1
		local ok, text = raw.pcall(made, v)
		depth = depth - 1
		if not ok then
			raw.error(text, 0)
		end
		return text
	end
end

list.tostring = nested(function(l)
	local c, parts = of(List, l, "tostring"), {}
	for at = 1, c.n do
		parts[at] = quoted(c.t[at])
	end
	return "List(" .. raw.concat(parts, ", ") .. ")"
end)

List.__tostring = list.tostring
List.__len = list.size

function List.__index(l, i)
	local c = rawget(l, K)
	i = raw.tointeger(i)
	if i and i >= 1 and i <= c.n then
		return outward(c.t[i])
	end
end

function List.__newindex(l, i, v)
	local c = rawget(l, K)
	i = raw.tointeger(i)
	if i and i >= 1 and i <= c.n + 1 and storable(v) then
		c.t[i] = inward(v)
		c.n = c.n < i and i or c.n
	end
end

function List.__eq(a, b)
	return is(List, a) and is(List, b) and host.same(a, b)
end

-- Maps

-- What a key is in Lua's own tables: of bytes their content.
local function plain_key(k)
	if raw.type(k) == "table" then
		if is(Bytes, k) then
			return "\0bytes\0" .. raw.content(k)
		end
		return nil
	end
	if k ~= k then
		return nil -- not a number
	end
	return k
end

local function empty()
	return { v = {}, k = {}, p = {}, n = 0, m = 0, f = 0 }
end

local function put(c, k, v)
	local key = plain_key(k)
	if key == nil or not storable(v) then
		return
	end
	if c.p[key] == nil then
		c.n, c.m = c.n + 1, c.m + 1
		c.k[c.m], c.p[key] = k, c.m
	end
	c.v[key] = inward(v)
end

-- Gives places back that removed keys had, once they are the most.
local function close_up(c)
	local k, p, m = {}, {}, 0
	for at = 1, c.m do
		if c.k[at] ~= NIL then
			m = m + 1
			k[m], p[plain_key(c.k[at])] = c.k[at], m
		end
	end
	c.k, c.p, c.m = k, p, m
end

-- For each key and value; keys that are removed meanwhile are left out.
local function entries(c)
	local at, keys = 0, c.k
	return function()
		while at < (c.k == keys and c.m or raw.rawlen(keys)) do
			at = at + 1
			local k = keys[at]
			if k ~= NIL and k ~= nil then
				local v = c.v[plain_key(k)]
				if v ~= nil then
					return k, outward(v)
				end
			end
		end
	end
end

local map = raw.setmetatable({}, {
	__call = function(_, from)
		local c = empty()
		if raw.type(from) == "table" and not objects[getmetatable(from)] then
			for k, v in raw.next, from do
				put(c, k, v)
			end
		end
		return new(Map, c)
	end,
})

_G.map = map

function map.create()
	return new(Map, empty())
end

map.new = map.create

function map.size(m)
	return of(Map, m, "size").n
end

function map.pairs(m)
	return entries(of(Map, m, "pairs"))
end

map.iterator = map.pairs

function map.keys(m)
	return entries(of(Map, m, "keys"))
end

function map.values(m)
	local each = entries(of(Map, m, "values"))
	return function()
		local k, v = each()
		if k ~= nil then
			return v
		end
	end
end

function map.remove(m, k)
	local c = of(Map, m, "remove")
	local key = plain_key(k)
	local at = key ~= nil and c.p[key]
	if at then
		c.k[at], c.p[key], c.v[key] = NIL, nil, nil
		c.n = c.n - 1
		if c.m > 32 and c.n < c.m // 2 then
			close_up(c)
		end
	end
end

local function copied(c)
	local copy = empty()
	for k, v in entries(c) do
		put(copy, k, v)
	end
	copy.f = c.f
	return copy
end

function map.clone(m)
	return new(Map, copied(of(Map, m, "clone")))
end

function map.merge(m, other, f)
	local c, d = of(Map, m, "merge"), of(Map, other, "merge", 2)
	local merged = copied(c)
	for k, v in entries(d) do
		local key = plain_key(k)
		if f ~= nil and merged.p[key] ~= nil then
			v = f(outward(merged.v[key]), v)
		end
		put(merged, k, v)
	end
	return new(Map, merged)
end

function map.diff(m, other)
	local c, d = of(Map, m, "diff"), of(Map, other, "diff", 2)
	local diff = empty()
	for k, v in entries(c) do
		if d.p[plain_key(k)] == nil then
			put(diff, k, v)
		end
	end
	for k, v in entries(d) do
		if c.p[plain_key(k)] == nil then
			put(diff, k, v)
		end
	end
	return new(Map, diff)
end

function map.nbytes(m)
	of(Map, m, "nbytes")
	return host.size(m)
end

map.tostring = nested(function(m)
	local parts = {}
	for k, v in entries(of(Map, m, "tostring")) do
		parts[#parts + 1] = quoted(k) .. "->" .. quoted(inward(v))
	end
	return "Map(" .. raw.concat(parts, ", ") .. ")"
end)

Map.__tostring = map.tostring
Map.__len = map.size

function Map.__index(m, k)
	local key = plain_key(k)
	if key ~= nil then
		return outward(rawget(m, K).v[key])
	end
end

function Map.__newindex(m, k, v)
	put(rawget(m, K), k, v)
end

function Map.__eq(a, b)
	return is(Map, a) and is(Map, b) and host.same(a, b)
end

-- GeoJSON

function GeoJSON(text)
	return new(GeoJSON_, { s = raw.tostring(text) })
end

function GeoJSON_.__tostring(g)
	return of(GeoJSON_, g, "tostring").s
end

return {
	NIL = NIL, List = List, Map = Map, Bytes = Bytes, GeoJSON = GeoJSON_, Record = Record,
	is = is, of = of, new = new, inward = inward, outward = outward, storable = storable, whole = whole,
}
