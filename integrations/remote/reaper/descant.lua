-- @description Descant: candidates beside what is selected
-- @version 0.1.0
-- @author Descant
-- @provides
--   [nomain] descant_link.lua
--   [nomain] descant_project.lua
--   [nomain] descant_takes.lua
--   [nomain] descant_press.lua
--   [main] descant_*.lua
-- @about
--   Runs in the background after the first key. Needs nothing but REAPER 6.44 or newer and Descant running.

-- One instance runs; the actions (descant_continue.lua ...) start it when it does not, and leave their wish in
-- REAPER's ExtState. Everything here happens in short turns, the project is only ever changed inside one undo
-- block, and only while it is what was read.

local r = reaper
local SECTION = "Descant"
local here = debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or ""
local M = dofile(here .. "descant_link.lua")
local P = dofile(here .. "descant_project.lua")(M)
local verbs = dofile(here .. "descant_takes.lua")(M, P)

-- Keys and turns -----------------------------------------------------------------------------------

local OPTIONS = {bars = 4, candidates = 4, temperature = 0.95}

local function options_for(action)
  local options = {}
  for name, usual in pairs(OPTIONS) do
    local value = tonumber(r.GetExtState(SECTION, name))
    options[name] = value and (math.tointeger(value) or value) or usual
  end
  local density = tonumber(r.GetExtState(SECTION, "density"))
  if density and density > 0 then options.density = math.floor(density) end
  if action == "accompany" then options.add = r.GetExtState(SECTION, "add") end
  if action == "sketch" then options.text = r.GetExtState(SECTION, "text") end
  if options.add == "" then options.add = nil end
  if action ~= "continue" then options.bars = nil end
  return options
end

local shown_until = 0

local function say(text)
  -- A tooltip near the mouse: the console would cover the arrangement.
  local x, y = r.GetMousePosition()
  r.TrackCtl_SetToolTip(text, x + 16, y + 16, true)
  shown_until = r.time_precise() + 4
end

local link = M.open({
  daw = "reaper",
  daw_version = r.GetAppVersion(),
  capabilities = {
    tempo_map = true, arrangement = true, loops = true, context = true, new_tracks = true, undo = true,
    audition = true, swing = true, grows = true, sketch = true, place = "takes", resolution = P.TICKS,
  },
  folder = (r.GetExtState(SECTION, "folder") ~= "" and r.GetExtState(SECTION, "folder")) or DESCANT_FOLDER,
  now = r.time_precise,
  make_folder = function(path) r.RecursiveCreateDirectory(path, 0) end,
  new_name = function() return (r.genGuid(""):gsub("[^%w]", "")) end,
  say = say,
  forsaken = verbs.forsaken,
  verbs = verbs,
})

local LOCAL = {
  next = function() verbs.audition({number = verbs.shown() + 1}) end,
  previous = function() verbs.audition({number = verbs.shown() - 1}) end,
  accept = verbs.accept,
  cancel = function()
    if link.asked then link:act("cancel") else verbs.cancel() end
  end,
}

local function press(action)
  if not LOCAL[action] then return link:act(action, options_for(action)) end
  local fine, problem = pcall(LOCAL[action])
  if not fine then
    say(type(problem) == "table" and (problem.message .. ". " .. problem.hint) or tostring(problem))
  end
end

local function turn()
  local now = r.time_precise()
  r.SetExtState(SECTION, "alive", ("%.3f"):format(now), false)
  local action, others = r.GetExtState(SECTION, "action"):match("^(%S+) (.*)$") -- each key with a space behind it
  if action and (link:connected() or LOCAL[action] or now > (tonumber(r.GetExtState(SECTION, "pressed")) or 0) + 1.5) then
    r.SetExtState(SECTION, "action", others, false)
    press(action)
  end
  if shown_until > 0 and now > shown_until then
    shown_until = 0
    r.TrackCtl_SetToolTip("", 0, 0, true)
  end
  link:tick()
  r.defer(turn)
end

r.atexit(function()
  r.DeleteExtState(SECTION, "alive", false)
  link:close()
end)
turn()
