ardour {
  ["type"] = "EditorHook", name = "Descant in the background", author = "Descant", license = "Apache-2.0",
  description = [[Reads what is selected and writes candidates beside it, while Descant runs.]]
}

function signals ()
  return LuaSignal.Set():add({[LuaSignal.LuaTimerDS] = true}) -- ten times a second
end

function factory ()
  local link, verbs
  local place = ARDOUR.user_config_directory(-1) .. "/scripts/Descant/"

  -- Ardour's editor takes dofile, coroutine, debug and more away from its scripts.
  local function run(name) return assert(loadfile(place .. name))() end

  local function open()
    os.remove(place .. "pressed") -- of a time when nobody looked
    local M = run("descant_link.lua")
    run("descant_folder.lua") -- written by `descant daw install`: where the program looks
    verbs = run("descant_session.lua")(M, function()
      local out, list = {}, Editor:get_selection().regions:regionlist() -- held: see descant_session.lua
      for region in list:iter() do out[#out + 1] = region end
      return out
    end, function() Editor:access_action("Editor", "undo") end)
    -- Microseconds since Ardour began; os.clock counts the processor's time, not ours.
    local function now() return ARDOUR.LuaAPI.monotonic_time() / 1000000 end
    local function say(text) print("Descant: " .. text) end
    link = M.open(run("descant_host.lua")(DESCANT_FOLDER, verbs, now, say))
  end

  local function press(action)
    local here = {
      next = function() verbs.audition({number = verbs.shown() + 1}) end,
      previous = function() verbs.audition({number = verbs.shown() - 1}) end,
      accept = verbs.accept,
      cancel = function()
        if link.asked then link:act("cancel") else verbs.cancel() end
      end,
    }
    if not here[action] then return link:act(action, {}) end
    local fine, problem = pcall(here[action])
    if not fine then print("Descant: " .. (type(problem) == "table" and problem.message or tostring(problem))) end
  end

  return function ()
    if not link then open() end
    local file = io.open(place .. "pressed", "r")
    if file then
      local keys = file:read("a")
      file:close()
      os.remove(place .. "pressed")
      for action in keys:gmatch("%S+") do press(action) end
    end
    link:tick()
  end
end
