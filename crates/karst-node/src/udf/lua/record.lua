-- The record that a function is called with, and what it does with it.
--
-- What is assigned to a bin is kept in `cache`. create and update pack it and move it to `image`, which is what
-- will be written when the function has returned: by bin name a packed value, or false for a bin that goes.
--
--   S: at        the record's number among those of the call
--      fixed     it is one of a stream, and cannot be changed
--      exists, gen, ttl, lut, setname, key, digest, size   as the node knows the record
--      loaded    values of bins that were read
--      wiped     none of the bins that are stored stays
--      written   something is to be written
--      code      of the last write that was rejected; 0 after one that was not
--      life      set_ttl's number
--      drop_key  the stored key goes

local host, K, raw, V = ...

local rawget, type = raw.rawget, type
local Record, NIL = V.Record, V.NIL

local NAME_BYTES_MAX = 15
local UPDATES_MAX = 1024
local FIXED = "a record of a stream cannot be changed"
local BIN_NAME = 21 -- the result code of too many bins

local function name_of(k)
	if raw.type(k) == "number" then
		k = raw.tostring(k)
	end
	if raw.type(k) == "string" and #k <= NAME_BYTES_MAX then
		return k
	end
end

function Record.__index(r, k)
	local S, name = rawget(r, K), name_of(k)
	if not name then
		return nil
	end
	local v = S.cache[name]
	if v == nil then
		v = S.loaded[name]
		if v == nil and S.exists and not S.wiped and S.image[name] == nil then
			v = V.inward(host.bin(S.at, name))
			S.loaded[name] = v
		end
	end
	return V.outward(v)
end

function Record.__newindex(r, k, v)
	local S, name = rawget(r, K), name_of(k)
	if S.fixed then
		raw.error(FIXED, 2)
	end
	if not name then
		host.log(1, "the name of a bin is no text of at most 15 bytes: it is not set")
		return
	end
	local what = raw.type(v)
	local fits = what == "nil" or what == "boolean" or what == "number" or what == "string" or type(v) == "userdata"
	if not fits then
		raw.error("can't set bin " .. name .. " to unsupported type", 2)
	end
	if S.cache[name] == nil then
		S.cached = S.cached + 1
	end
	S.cache[name] = V.inward(v)
end

function Record.__tostring()
	return "Record()"
end

local function of(r, name)
	return V.of(Record, r, name)
end

-- The same of a record that is to be changed.
local function changeable(r, name)
	local S = of(r, name)
	if S.fixed then
		raw.error(FIXED, 3)
	end
	return S
end

-- Moves what is cached to the image. The result code that speaks against it, or 0.
local function commit(S)
	if S.cached > UPDATES_MAX then
		return BIN_NAME
	end
	local image = {}
	for name, v in raw.next, S.cache do
		if v == NIL then
			image[name] = false
		else
			local packed, code = host.pack(v)
			if not packed then
				return code
			end
			image[name] = packed
		end
	end
	for name, packed in raw.next, image do
		S.image[name] = packed
		S.loaded[name] = S.cache[name]
	end
	S.cache, S.cached = {}, 0
	S.written, S.exists = true, true
	return 0
end

local function answer(S)
	S.code = commit(S)
	return S.code == 0 and 0 or -1
end

local aerospike = {}
_G.aerospike = aerospike

function aerospike:exists(r)
	return of(r, "exists").exists
end

function aerospike:create(r)
	local S = changeable(r, "create")
	if S.exists then
		return 1
	end
	return answer(S)
end

function aerospike:update(r)
	local S = changeable(r, "update")
	if not S.exists then
		return -2
	end
	return answer(S)
end

function aerospike:remove(r)
	local S = changeable(r, "remove")
	if not S.exists then
		return 1
	end
	S.exists, S.wiped, S.written, S.code = false, true, true, 0
	S.image, S.loaded, S.cache, S.cached = {}, {}, {}, 0
	return 0
end

function aerospike:rec_create(r)
	return aerospike:create(r)
end

function aerospike:rec_update(r)
	return aerospike:update(r)
end

function aerospike:rec_exists(r)
	return aerospike:exists(r)
end

function aerospike:rec_remove(r)
	return aerospike:remove(r)
end

function aerospike:log(level, text)
	host.log(V.whole(level, "log", 1), raw.tostring(text))
end

function aerospike:get_current_time()
	return host.now()
end

function aerospike:set_context() end

function aerospike:get_config() end

local record = {}
_G.record = record

function record.ttl(r)
	local S = of(r, "ttl")
	return S.exists and S.ttl or 0
end

function record.set_ttl(r, n)
	changeable(r, "set_ttl").life = V.whole(n, "set_ttl", 2)
end

function record.gen(r)
	local S = of(r, "gen")
	return S.exists and S.gen or 0
end

function record.key(r)
	return of(r, "key").key
end

function record.digest(r)
	return V.new(V.Bytes, { s = of(r, "digest").digest })
end

function record.setname(r)
	return of(r, "setname").setname
end

-- Names of the bins there would be if the function ended here, without what is cached.
local function names(S)
	local all = {}
	if S.exists and not S.wiped then
		for _, name in raw.ipairs(host.names(S.at)) do
			if S.image[name] == nil then
				raw.insert(all, name)
			end
		end
	end
	for name, packed in raw.next, S.image do
		if packed then
			raw.insert(all, name)
		end
	end
	return all
end

function record.numbins(r)
	local S = of(r, "numbins")
	return S.exists and #names(S) or 0
end

function record.bin_names(r)
	local S = of(r, "bin_names")
	if not S.exists then
		raw.error("the record does not exist", 2)
	end
	return names(S)
end

function record.last_update_time(r)
	local S = of(r, "last_update_time")
	return S.exists and S.lut or 0
end

function record.size(r)
	local S = of(r, "size")
	return S.exists and S.size or 0
end

record.memory_size = function()
	return 0
end

record.device_size = record.size

function record.drop_key(r)
	changeable(r, "drop_key").drop_key = true
end

-- A record as the node gives it.
return function(S)
	S.cache, S.cached, S.image, S.loaded, S.code = {}, 0, {}, {}, 0
	S.wiped, S.written = false, false
	return V.new(Record, S)
end
