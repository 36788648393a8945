-- Calls a script's function by name and catches what it throws: true and the value, or false and a text.

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
	local f = raw.rawget(_G, name)
	if raw.type(f) ~= "function" then
		return false, "function not found"
	end
	return ended(raw.pcall(f, ...))
end

return call
