-- Calls a script's function by name, or one of the node's, and catches what it throws: true and the value, or false
-- and a text.

local host, _, raw = ...

local function ended(ok, v)
	if ok then
		return true, v
	end
	local what = raw.type(v)
	if what == "userdata" then
		raw.error(v, 0) -- the node's own
	elseif what == "string" or what == "number" then
		return false, raw.tostring(v)
	end
	return false, "result value type unexpected"
end

local function call(name, ...)
	local f = name
	if raw.type(name) == "string" then
		f = raw.rawget(_G, name)
	end
	if raw.type(f) ~= "function" then
		return false, "function not found"
	end
	return ended(raw.pcall(f, ...))
end

return call
