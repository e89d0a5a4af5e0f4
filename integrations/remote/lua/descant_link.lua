-- What the scripts in REAPER and Ardour share: JSON, stamps, and messages as files in a folder.
-- Plain Lua 5.3 or newer with its own library; nothing here waits, and nothing here knows a DAW.
--
--   local link = M.open(host)                host: see below
--   link:tick()                              many times a second
--   link:act("continue", {bars = 4})         the user pressed a key
--   link:close()

local M = {}

M.VERSION = "0.1.0"
M.PROTOCOLS = {1}
M.null = setmetatable({}, {__tostring = function() return "null" end})

local SLICE = 0.010 -- seconds of work at a time; then the DAW has its turn
local DEAD = 6.0 -- seconds without a beat after which the program counts as gone
local threads = coroutine -- Ardour's editor gives its scripts none: there a verb is done in one turn

-- JSON ---------------------------------------------------------------------------------------------

local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}

local function quoted(text)
  -- Names are UTF-8; a byte that is not becomes a question mark, so that every message can be read.
  local ascii = text:gsub("[\128-\255]+", function(bytes)
    if not utf8.len(bytes) then return ("?"):rep(#bytes) end
    local out = {}
    for _, code in utf8.codes(bytes) do
      if code >= 0x10000 then
        code = code - 0x10000
        out[#out + 1] = ("\\u%04x\\u%04x"):format(0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF))
      else
        out[#out + 1] = ("\\u%04x"):format(code)
      end
    end
    return table.concat(out)
  end)
  return ascii
end

local function text_of(text)
  local plain = text:gsub('[%c"\\]', function(char)
    return ESCAPES[char] or ("\\u%04x"):format(char:byte())
  end)
  return '"' .. quoted(plain) .. '"'
end

local function number_of(value)
  if math.type(value) == "integer" then return tostring(value) end
  if value ~= value or value == math.huge or value == -math.huge then error("a number that is none") end
  if value == math.floor(value) and math.abs(value) < 2 ^ 53 then return ("%d"):format(math.floor(value)) end
  return (("%.14g"):format(value):gsub(",", ".")) -- some systems' locale writes a comma
end

-- A table with [1], or an empty one made by M.list, is a list; any other is an object.
local function encode(value, out, breathe)
  local kind = type(value)
  if value == nil or value == M.null then
    out[#out + 1] = "null"
  elseif kind == "boolean" then
    out[#out + 1] = tostring(value)
  elseif kind == "number" then
    out[#out + 1] = number_of(value)
  elseif kind == "string" then
    out[#out + 1] = text_of(value)
  elseif kind == "table" then
    local is_list = value[1] ~= nil or getmetatable(value) == M.list_mark
    out[#out + 1] = is_list and "[" or "{"
    local first = true
    if is_list then
      for index = 1, #value do
        if index > 1 then out[#out + 1] = "," end
        encode(value[index], out, breathe)
        if breathe and index % 64 == 0 then breathe() end
      end
    else
      for key, item in pairs(value) do
        if not first then out[#out + 1] = "," end
        first = false
        out[#out + 1] = text_of(tostring(key)) .. ":"
        encode(item, out, breathe)
      end
    end
    out[#out + 1] = is_list and "]" or "}"
  else
    error("a " .. kind .. " cannot be sent")
  end
end

M.list_mark = {}

function M.list(values)
  return setmetatable(values or {}, M.list_mark)
end

function M.encode(value, breathe)
  local out = {}
  encode(value, out, breathe)
  return table.concat(out)
end

local function decode_error(at)
  error("no JSON at byte " .. at, 0)
end

local UNESCAPES = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/"}

local function decode_text(text, at)
  local out, from = {}, at + 1
  while true do
    local stop = text:find('["\\]', from)
    if not stop then decode_error(at) end
    out[#out + 1] = text:sub(from, stop - 1)
    if text:byte(stop) == 34 then return table.concat(out), stop + 1 end
    local char = text:sub(stop + 1, stop + 1)
    if char == "u" then
      local code = tonumber(text:match("^%x%x%x%x", stop + 2) or decode_error(stop), 16)
      from = stop + 6
      local low = text:match("^\\u([dD][c-fC-F]%x%x)", from)
      if code >= 0xD800 and code < 0xDC00 and low then
        code = 0x10000 + ((code - 0xD800) << 10) + (tonumber(low, 16) - 0xDC00)
        from = from + 6
      end
      out[#out + 1] = utf8.char(code)
    else
      out[#out + 1] = UNESCAPES[char] or decode_error(stop)
      from = stop + 2
    end
  end
end

local function decode(text, at, depth)
  if depth > 50 then decode_error(at) end
  at = text:find("%S", at) or decode_error(at)
  local char = text:sub(at, at)
  if char == "{" or char == "[" then
    local result, closing = {}, char == "{" and "}" or "]"
    if closing == "]" then M.list(result) end
    at = text:find("%S", at + 1) or decode_error(at)
    if text:sub(at, at) == closing then return result, at + 1 end
    while true do
      local key = #result + 1
      if closing == "}" then
        at = text:find("%S", at) or decode_error(at)
        if text:sub(at, at) ~= '"' then decode_error(at) end
        key, at = decode_text(text, at)
        at = text:match("^%s*:()", at) or decode_error(at)
      end
      result[key], at = decode(text, at, depth + 1)
      at = text:find("%S", at) or decode_error(at)
      local next_char = text:sub(at, at)
      if next_char == closing then return result, at + 1 end
      if next_char ~= "," then decode_error(at) end
      at = at + 1
    end
  elseif char == '"' then
    return decode_text(text, at)
  end
  local number, stop = text:match("^(-?%d+%.?%d*[eE]?[+-]?%d*)()", at)
  if number then return math.tointeger(tonumber(number)) or tonumber(number), stop end
  for word, value in pairs({["true"] = true, ["false"] = false, ["null"] = M.null}) do
    if text:sub(at, at + #word - 1) == word then return value, at + #word end
  end
  decode_error(at)
end

function M.decode(text)
  local value, at = decode(text, 1, 0)
  if text:find("%S", at) then decode_error(at) end
  return value
end

-- A 64-bit FNV-1a hash of whole numbers: tells whether something was edited.
function M.stamp(numbers)
  local state = 0xCBF29CE484222325
  for index = 1, #numbers do
    local text = ("%d;"):format(numbers[index])
    for at = 1, #text do
      state = (state ~ text:byte(at)) * 0x100000001B3
    end
  end
  return ("%016x"):format(state)
end

-- Errors that reach the user: fail("changed", "...", "...").
function M.fail(code, message, hint)
  error({code = code, message = message, hint = hint or ""}, 0)
end

-- Files --------------------------------------------------------------------------------------------

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

local function write_file(path, text)
  local draft = path .. ".tmp"
  local file = io.open(draft, "wb")
  if not file then return false end
  local done = file:write(text)
  file:close()
  return done and os.rename(draft, path) or false
end

-- A function that does a piece of the work each time, and says whether it was the last.
local function job(work)
  if not threads then
    return function()
      pcall(work)
      return true
    end
  end
  local thread = threads.create(work)
  return function()
    threads.resume(thread)
    return threads.status(thread) == "dead"
  end
end

-- The link -----------------------------------------------------------------------------------------

-- host.daw, host.daw_version, host.capabilities   for the greeting
-- host.folder                                     the folder that the program watches
-- host.now()                                      seconds, any origin
-- host.make_folder(path), host.new_name()         where Lua can make folders; else the program has made one
-- host.say(text)                                  shows one line
-- host.forsaken()                                 what was asked will not come; may be left out
-- host.verbs[name](arguments, breathe)            read, write, audition, accept, cancel, undo
local Link = {}
Link.__index = Link

function M.open(host)
  return setmetatable({
    host = host, server = nil, beat = nil, beat_at = -1000, look_at = 0, alive_at = 0,
    session = nil, sent = 0, got = 0, welcome = false, waiting = {}, jobs = {}, asked = false,
  }, Link)
end

function Link:connected()
  return self.welcome
end

-- Once per turn of the DAW. Never takes longer than about SLICE.
function Link:tick()
  local now = self.host.now()
  if now >= self.look_at then
    self.look_at = now + 0.5
    self:look_for_server(now)
  end
  if self.session then
    if now >= self.alive_at then
      self.alive_at = now + 1.0
      local file = io.open(self.session .. "/alive", "wb")
      if not file then return self:forget("Descant took the DAW for closed") end
      file:write(("%.3f"):format(now))
      file:close()
    end
    self:receive()
    self:work(now + SLICE)
  end
end

function Link:look_for_server(now)
  local text = read_file(self.host.folder .. "/server.json")
  local found, server = pcall(M.decode, text or "")
  if found and type(server) == "table" and server.instance then
    if server.beat ~= self.beat or server.instance ~= self.server then
      self.beat, self.beat_at = server.beat, now
    end
    if server.instance ~= self.server then
      self:leave("Descant was started again")
      self.server = server.instance
      self:greet(server.free)
    end
  end
  if self.server and now - self.beat_at > DEAD then
    self:leave("Descant is not running any more")
    self.server = nil
  end
end

function Link:greet(free)
  local session = self.host.folder .. "/" .. (self.host.new_name and self.host.new_name() or free)
  if self.host.make_folder then self.host.make_folder(session) end
  self.session, self.sent, self.got, self.alive_at = session, 0, 0, 0
  self:send({hello = {
    daw = self.host.daw, daw_version = self.host.daw_version, script_version = M.VERSION,
    protocols = M.list(M.PROTOCOLS), capabilities = self.host.capabilities,
  }})
end

-- Forget the session; whatever was asked will not come.
function Link:leave(why)
  if self.session then write_file(self.session .. "/gone", "") end
  self.session, self.welcome, self.jobs = nil, false, {}
  if self.asked then
    self.asked = false
    if self.host.forsaken then self.host.forsaken() end
    self.host.say(why .. "; nothing was written. Ask again.")
  end
end

-- The session's folder is gone: where a DAW stands still for long, behind a dialog, the program lets go of it. Begin
-- another.
function Link:forget(why)
  self:leave(why)
  self.server = nil
  self:look_for_server(self.host.now())
end

function Link:send(message, breathe)
  if not self.session then return false end
  local session = self.session
  local text = M.encode(message, breathe)
  if session ~= self.session then return false end -- it ended while we were at it
  self.sent = self.sent + 1
  return write_file(("%s/in-%d.json"):format(session, self.sent), text)
end

function Link:receive()
  local path = ("%s/out-%d.json"):format(self.session, self.got + 1)
  local text = read_file(path)
  if not text then return end
  self.got = self.got + 1
  os.remove(path)
  local fine, message = pcall(M.decode, text)
  if not fine or type(message) ~= "table" then return end
  if message.welcome then
    self.welcome = true
    for _, waiting in ipairs(self.waiting) do self:send(waiting) end
    self.waiting = {}
  elseif message.refused then
    self.waiting, self.asked = {}, false
    self.host.say(tostring(message.refused.message) .. ". " .. tostring(message.refused.hint))
  elseif message["do"] then
    self.jobs[#self.jobs + 1] = job(function() self:answer(message) end)
  end
end

function Link:answer(message)
  local function breathe()
    if threads and self.host.now() > self.turn_ends then threads.yield() end
  end
  if message["do"] == "say" then
    self.host.say(tostring(message.text))
    self:send({id = message.id, ok = {done = true}})
    self.asked = message.done == false -- the program's word: it may have been pressed from elsewhere
    return
  end
  local verb = self.host.verbs[message["do"]]
  local fine, result = xpcall(function()
    if not verb then M.fail("unsupported", "This DAW's script cannot do that", "Install the script again.") end
    return verb(message, breathe)
  end, function(problem)
    if type(problem) == "table" then return problem end
    return {code = "failed", message = tostring(problem):sub(1, 300), hint = "Please report this line."}
  end)
  if fine then
    self:send({id = message.id, ok = result or {done = true}}, breathe)
  else
    self:send({id = message.id, error = result})
  end
end

function Link:work(turn_ends)
  self.turn_ends = turn_ends
  while self.jobs[1] and self.host.now() < turn_ends do
    local go_on = self.jobs[1]
    if go_on() and self.jobs[1] == go_on then table.remove(self.jobs, 1) end
  end
end

function Link:act(action, options)
  local message = {action = action, options = options or {}}
  local sent = self.welcome and self:send(message)
  if self.welcome and not sent then self:forget("Descant took the DAW for closed") end
  if action ~= "cancel" then self.asked = true end
  if sent then return end
  if self.session then
    self.waiting[#self.waiting + 1] = message
  elseif action ~= "cancel" then
    self.asked = false
    self.host.say("Descant is not running. Start it with: descant serve")
  end
end

function Link:close()
  self.asked = false
  self:leave("")
end

return M
