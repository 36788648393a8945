-- Bytes: { s = content } until a byte is set, then { t = the bytes as numbers, n = their number }.

local host, K, raw, V = ...

local rawget, type = raw.rawget, type
local Bytes = V.Bytes

-- No value is larger, nor may be made so.
local BYTES_MAX = 16 << 20

-- Numbers that are taken for a call's arguments at a time.
local CHUNK = 4096

local function content(b)
	local c = rawget(b, K)
	if c.s then
		return c.s
	end
	local parts, n = {}, 0
	for first = 1, c.n, CHUNK do
		local last = first + CHUNK - 1
		n = n + 1
		parts[n] = raw.char(raw.unpack(c.t, first, last < c.n and last or c.n))
	end
	local s = raw.concat(parts)
	c.s = s
	return s
end

raw.content = content

local function length(c)
	return c.t and c.n or #c.s
end

-- The content as numbers, to be changed.
local function opened(c)
	if not c.t then
		local t = {}
		for first = 1, #c.s, CHUNK do
			local at = first - 1
			for i, byte in raw.ipairs({ raw.byte(c.s, first, first + CHUNK - 1) }) do
				t[at + i] = byte
			end
		end
		c.t, c.n = t, #c.s
	end
	c.s = nil
	return c
end

-- Writes a string at a position; what lies between is zero.
local function write(b, i, s)
	local c = rawget(b, K)
	if i < 1 or i - 1 + #s > BYTES_MAX then
		return false
	end
	if i == length(c) + 1 then -- appended
		local joined = content(b) .. s
		c.s, c.t, c.n = joined, nil, nil
		return true
	end
	opened(c)
	for at = c.n + 1, i - 1 do
		c.t[at] = 0
	end
	for at = 1, #s do
		c.t[i + at - 1] = raw.byte(s, at)
	end
	c.n = c.n < i - 1 + #s and i - 1 + #s or c.n
	return true
end

-- `n` bytes from a position on, or nothing if they are not all there.
local function read(b, i, n)
	local c = rawget(b, K)
	if i < 1 or n < 0 or i - 1 + n > length(c) then
		return nil
	end
	if c.s then
		return raw.sub(c.s, i, i + n - 1)
	end
	if n <= 8 then
		return raw.char(raw.unpack(c.t, i, i + n - 1))
	end
	return raw.sub(content(b), i, i + n - 1)
end

local bytes = raw.setmetatable({}, {
	__call = function()
		return V.new(Bytes, { s = "" })
	end,
})

_G.bytes = bytes

local function of(b, name)
	return V.of(Bytes, b, name)
end

function bytes.create()
	return bytes()
end

bytes.new = bytes.create

function bytes.size(b)
	return length(of(b, "size"))
end

function bytes.set_size(b, n)
	local c = of(b, "set_size")
	n = V.whole(n, "set_size", 2)
	if n < 0 or n > BYTES_MAX then
		return false
	end
	local size = length(c)
	if n <= size then
		c.s, c.t, c.n = raw.sub(content(b), 1, n), nil, nil
	else
		c.s, c.t, c.n = content(b) .. raw.rep("\0", n - size), nil, nil
	end
	return true
end

function bytes.get_type(b)
	return of(b, "get_type").k or 4
end

function bytes.set_type(b, k)
	of(b, "set_type").k = V.whole(k, "set_type", 2)
end

-- The families of numbers: { name, format, smallest, largest }.
local NUMBERS = {
	{ "byte", "B", 0, 255 },
	{ "int16", "i2", -0x8000, 0x7fff },
	{ "int32", "i4", -0x80000000, 0x7fffffff },
	{ "int64", "i8", math.mininteger, math.maxinteger },
}

local function number_family(name, order, suffix)
	local format, lowest, highest = order .. name[2], name[3], name[4]
	local size = string.packsize(format)
	local get, set, append = "get_" .. name[1] .. suffix, "set_" .. name[1] .. suffix, "append_" .. name[1] .. suffix
	bytes[get] = function(b, i)
		of(b, get)
		local s = read(b, V.whole(i, get, 2), size)
		if s then
			return (raw.sunpack(format, s))
		end
	end
	bytes[set] = function(b, i, v)
		of(b, set)
		v = V.whole(v, set, 3)
		return v >= lowest and v <= highest and write(b, V.whole(i, set, 2), raw.pack(format, v))
	end
	bytes[append] = function(b, v)
		local c = of(b, append)
		v = V.whole(v, append, 2)
		return v >= lowest and v <= highest and write(b, length(c) + 1, raw.pack(format, v))
	end
end

for _, name in raw.ipairs(NUMBERS) do
	number_family(name, ">", "")
	if name[1] ~= "byte" then
		number_family(name, ">", "_be")
		number_family(name, "<", "_le")
	end
end

local function text(v, n, name, at)
	local s = V.is(Bytes, v) and content(v) or raw.type(v) == "string" and v
	if not s then
		raw.error("bad argument #" .. at .. " to '" .. name .. "' (string or Bytes expected, got " .. type(v) .. ")", 3)
	end
	n = n == nil and #s or V.whole(n, name, at + 1)
	return n >= 0 and n <= #s and raw.sub(s, 1, n) or nil
end

local function text_family(kind, made)
	local get, set, append = "get_" .. kind, "set_" .. kind, "append_" .. kind
	bytes[get] = function(b, i, n)
		of(b, get)
		local s = read(b, V.whole(i, get, 2), V.whole(n, get, 3))
		if s then
			return made(s)
		end
	end
	bytes[set] = function(b, i, v, n)
		of(b, set)
		local s = text(v, n, set, 3)
		return s ~= nil and write(b, V.whole(i, set, 2), s)
	end
	bytes[append] = function(b, v, n)
		local c = of(b, append)
		local s = text(v, n, append, 2)
		return s ~= nil and write(b, length(c) + 1, s)
	end
end

text_family("string", function(s)
	return s
end)
text_family("bytes", function(s)
	return V.new(Bytes, { s = s })
end)

-- Numbers of any size: seven bits a byte, the lowest first, the high bit says that more follow.
local function packed(v)
	local s = ""
	repeat
		local low = v & 0x7f
		v = v >> 7
		s = s .. raw.char(v ~= 0 and low | 0x80 or low)
	until v == 0
	return s
end

function bytes.get_var_int(b, i)
	of(b, "get_var_int")
	i = V.whole(i, "get_var_int", 2)
	local v = 0
	for at = 0, 9 do
		local s = read(b, i + at, 1)
		if not s then
			return nil
		end
		local byte = raw.byte(s)
		v = v | (byte & 0x7f) << (7 * at)
		if byte < 0x80 then
			return v, at + 1
		end
	end
end

function bytes.set_var_int(b, i, v)
	of(b, "set_var_int")
	local s = packed(V.whole(v, "set_var_int", 3))
	return write(b, V.whole(i, "set_var_int", 2), s) and #s or 0
end

function bytes.append_var_int(b, v)
	local c = of(b, "append_var_int")
	local s = packed(V.whole(v, "append_var_int", 2))
	return write(b, length(c) + 1, s) and #s or 0
end

function bytes.tostring(b)
	of(b, "tostring")
	return (raw.gsub(content(b), ".", function(c)
		return raw.format("%02X ", raw.byte(c))
	end))
end

Bytes.__tostring = bytes.tostring
Bytes.__len = bytes.size

function Bytes.__index(b, i)
	i = raw.tointeger(i)
	return i and bytes.get_byte(b, i)
end

function Bytes.__newindex(b, i, v)
	i = raw.tointeger(i)
	if i then
		bytes.set_byte(b, i, v)
	end
end

function Bytes.__eq(a, b)
	return V.is(Bytes, a) and V.is(Bytes, b) and content(a) == content(b)
end
