ardour {
  ["type"] = "EditorHook", name = "The user's hands",
  description = [[Does in Ardour's editor what a test asks for: commands and answers are files in a folder.]]
}

function signals ()
  return LuaSignal.Set():add({[LuaSignal.LuaTimerDS] = true})
end

function factory ()
  local place = ARDOUR.user_config_directory(-1) .. "/scripts/"
  local M, commands, PER_BEAT = nil, {}, 1920

  -- Held while it is gone through: see integrations/remote/ardour/descant_session.lua.
  local function items(list)
    local out = {}
    for item in list:iter() do out[#out + 1] = item end
    return out
  end

  local function ticks(value)
    local whole, part = tostring(value):match("(%d+):(%d+)")
    return (tonumber(whole) * PER_BEAT + tonumber(part)) / 2
  end

  local function regions_of(route)
    local track = route:to_track()
    if track:isnil() then return {} end
    return items(track:playlist():region_list())
  end

  function commands.import(message)
    local files = C.StringVector()
    files:push_back(message.path)
    Editor:do_import(files, Editing.ImportDistinctFiles, Editing.ImportAsTrack, ARDOUR.SrcQuality.SrcBest,
      ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
      Temporal.timepos_t(0), ARDOUR.PluginInfo(), ARDOUR.Track(), false)
  end

  function commands.select(message)
    local list = ArdourUI.SelectionList()
    for _, route in ipairs(items(Session:get_tracks())) do
      if route:name() == message.track then
        for _, region in ipairs(regions_of(route)) do
          list:push_back(Editor:regionview_from_region(region))
        end
      end
    end
    Editor:set_selection(list, ArdourUI.SelectionOp.Set)
    return {count = #items(Editor:get_selection().regions:regionlist())}
  end

  function commands.act(message) Editor:access_action(message.group, message.name) end

  function commands.state()
    local tracks = M.list()
    for _, route in ipairs(items(Session:get_tracks())) do
      local regions = M.list()
      for _, region in ipairs(regions_of(route)) do
        local notes, from, start = M.list(), ticks(region:position():beats()), ticks(region:start():beats())
        for _, note in ipairs(items(ARDOUR.LuaAPI.note_list(region:to_midiregion():model()))) do
          notes[#notes + 1] = M.list({from + ticks(note:time()) - start, note:note(), ticks(note:length()), note:velocity()})
        end
        regions[#regions + 1] = {name = region:name(), muted = region:muted(), notes = notes}
      end
      tracks[#tracks + 1] = {name = route:name(), regions = regions}
    end
    return {tracks = tracks}
  end

  return function ()
    M = M or assert(loadfile(place .. "Descant/descant_link.lua"))()
    local file = io.open(place .. "asked.json", "r")
    if not file then return end
    local text = file:read("a")
    file:close()
    os.remove(place .. "asked.json")
    local message = M.decode(text)
    local fine, result = pcall(function() return commands[message.cmd](message) end)
    if not fine then result = {failed = tostring(result)} end
    local out = io.open(place .. "answer.tmp", "w")
    out:write(M.encode(result or {done = true}))
    out:close()
    os.rename(place .. "answer.tmp", place .. "answer.json")
  end
end
