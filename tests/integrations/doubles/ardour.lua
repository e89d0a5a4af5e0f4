-- The real Ardour without its screen, driven from a test: ardour7-lua ardour.lua SCRIPT_FOLDER, commands as JSON lines
-- on stdin. Nothing of Ardour is imitated; what only its editor has, the selection, is told by the test.
io.stdout:setvbuf("no")
local real_out = io.stdout
local FOLDER, SESSION = arg[1], arg[2]

-- What Ardour takes away from the scripts of its editor (libs/lua/luastate.cc), which it does not do here.
dofile, require, package, debug, os.exit, os.setlocale = nil, nil, nil, nil, nil, nil
rawget, rawset, coroutine = nil, nil, nil

local function run(name) return assert(loadfile(FOLDER .. "/" .. name))() end
local M = run("descant_link.lua")
local PER_BEAT, TICKS = 1920, 960
local answered = "\1" -- before every answer: Ardour prints lines of its own

-- Ardour's iterators do not keep alive the list that they go through: a list that nothing but the loop knows may be
-- collected in its midst, and Ardour dies of it. So it is held here until all is out.
local function each(list)
  local out, at = {}, 0
  for item in list:iter() do out[#out + 1] = item end
  return function()
    at = at + 1
    return out[at]
  end
end

AudioEngine:set_backend("JACK", "ardour-descant", "")
assert(AudioEngine:start(false) == 0)
Session = assert(create_session(SESSION, "song", 48000))

local chosen, said, violations = {}, {}, {}
local function ticks_at(ticks) return Temporal.timepos_t.from_ticks(ticks * PER_BEAT // TICKS) end

local function selected()
  local out = {}
  for route in each(Session:get_tracks()) do
    for region in each(route:to_track():playlist():region_list()) do
      if chosen[region:to_stateful():id():to_s()] then out[#out + 1] = region end
    end
  end
  return out
end

local clock, link, verbs = 0, nil, nil

local function new_tracks(count, name)
  local one, out = ARDOUR.ChanCount(ARDOUR.DataType("midi"), 1), {}
  local list = Session:new_midi_track(one, one, true, ARDOUR.PluginInfo(), nil, nil, count, name or "new",
    ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
  for track in each(list) do out[#out + 1] = track:to_track() end
  return out
end

local commands, seed, recorder, tempos_before = {}, nil, nil, {}

-- A region has to be recorded once: without its editor Ardour imports nothing.
function commands.arm()
  if not recorder then recorder = new_tracks(1, "Recorder")[1] end
  for route in each(Session:get_tracks()) do
    route:to_track():rec_enable_control():set_value(1, PBD.GroupControlDisposition.NoGroup)
  end
  Session:maybe_enable_record(false)
  Session:request_roll(ARDOUR.TransportRequestSource.TRS_UI)
  return {port = "Recorder"}
end

function commands.stop()
  Session:request_stop(false, false, ARDOUR.TransportRequestSource.TRS_UI)
  for _ = 1, 100 do
    ARDOUR.LuaAPI.usleep(50000)
    for route in each(Session:get_tracks()) do
      for region in each(route:to_track():playlist():region_list()) do seed = seed or region end
    end
    if seed then
      for route in each(Session:get_tracks()) do
        route:to_track():rec_enable_control():set_value(0, PBD.GroupControlDisposition.NoGroup)
        route:to_track():playlist():remove_region(seed)
      end
      return {recorded = true}
    end
  end
  return {recorded = false}
end

function commands.load(message)
  -- Its Lua cannot remove a track: those of the song before are emptied and named so that nobody asks for them.
  for route in each(Session:get_tracks()) do
    if route:name() ~= "Recorder" and not route:name():find("^old") then
      olds = (olds or 0) + 1
      route:set_name("old" .. olds)
      local regions = {}
      for region in each(route:to_track():playlist():region_list()) do regions[#regions + 1] = region end
      for _, region in ipairs(regions) do route:to_track():playlist():remove_region(region) end
    end
  end
  chosen, said = {}, {}
  verbs = run("descant_session.lua")(M, selected)
  link = M.open(run("descant_host.lua")(message.folder, verbs, function() return clock end,
    function(text) said[#said + 1] = text end))
  local map = Temporal.TempoMap.write_copy()
  for _, at in ipairs(tempos_before) do map:set_tempo(Temporal.Tempo(120, 120, 4), at) end -- none can be removed
  for _, marker in ipairs(message.markers) do
    local at = ticks_at(math.floor(marker[1] * TICKS))
    tempos_before[#tempos_before + 1] = at
    if marker[3] ~= M.null then map:set_meter(Temporal.Meter(marker[3], marker[4]), at) end
    map:set_tempo(Temporal.Tempo(marker[2], marker[2], 4), at)
  end
  Temporal.TempoMap.update(map)
  local made = new_tracks(#message.lanes, "Track") -- Ardour numbers them; to name one anew takes it long
  for index, lane in ipairs(message.lanes) do
    local track = made[index]
    if track:name() ~= lane.name then track:set_name(lane.name) end
    for _, clip in ipairs(lane.clips) do
      local period = clip.period > 0 and clip.period or clip.length
      for from = clip.start, clip.start + clip.length - 1, period do
        local copy = ARDOUR.RegionFactory.clone_region(seed, true, false)
        local model = copy:to_midiregion():model()
        local command = model:new_note_diff_command("load")
        for note in each(ARDOUR.LuaAPI.note_list(model)) do command:remove(note) end
        local b, t = tostring(copy:start():beats()):match("(%d+):(%d+)")
        local start = tonumber(b) * PER_BEAT + tonumber(t)
        for _, note in ipairs(clip.notes) do
          local at, length = start + note[1] * 2, note[3] * 2
          command:add(ARDOUR.LuaAPI.new_noteptr(0, Temporal.Beats(at // PER_BEAT, at % PER_BEAT),
            Temporal.Beats(length // PER_BEAT, length % PER_BEAT), note[2], note[4]))
        end
        model:apply_command(Session, command)
        copy:set_name("own")
        copy:set_length(Temporal.timecnt_t.from_ticks(period * 2, Temporal.timepos_t.from_ticks(0)))
        track:playlist():add_region(copy, ticks_at(from), 1, false)
        for region in each(track:playlist():region_list()) do
          if clip.selected then chosen[region:to_stateful():id():to_s()] = true end
        end
      end
    end
  end
end

function commands.edit(message)
  for route in each(Session:get_tracks()) do
    if route:name() == message.name then
      for region in each(route:to_track():playlist():region_list()) do
        local model = region:to_midiregion():model()
        local command = model:new_note_diff_command("edit")
        for note in each(ARDOUR.LuaAPI.note_list(model)) do
          command:remove(note)
          command:add(ARDOUR.LuaAPI.new_noteptr(0, note:time(), note:length(), note:note() + 1, note:velocity()))
          break
        end
        model:apply_command(Session, command)
        return
      end
    end
  end
end

function commands.press(message)
  local here = {
    next = function() verbs.audition({number = verbs.shown() + 1}) end,
    previous = function() verbs.audition({number = verbs.shown() - 1}) end,
    accept = verbs.accept, cancel = verbs.cancel,
  }
  if here[message.action] then here[message.action]() else link:act(message.action, message.options) end
end

function commands.step() link:tick() end

function commands.quit() link:close() end

function commands.state()
  local tracks = M.list()
  for route in each(Session:get_tracks()) do
    local regions = M.list()
    for region in each(route:to_track():playlist():region_list()) do
      local function ticks(value)
        local b, t = tostring(value):match("(%d+):(%d+)")
        return (tonumber(b) * PER_BEAT + tonumber(t)) / 2
      end
      local notes, from, start = M.list(), ticks(region:position():beats()), ticks(region:start():beats())
      for note in each(ARDOUR.LuaAPI.note_list(region:to_midiregion():model())) do
        notes[#notes + 1] = M.list({from + ticks(note:time()) - start, note:note(), ticks(note:length()), note:velocity()})
      end
      regions[#regions + 1] = {name = region:name(), muted = region:muted(), notes = notes}
    end
    if route:name() ~= "Recorder" and not route:name():find("^old") then tracks[#tracks + 1] = {name = route:name(), regions = regions} end
  end
  return {tracks = tracks, said = M.list(said), shown = verbs.shown()}
end

for line in io.stdin:lines() do
  local message = M.decode(line)
  clock = message.now
  local fine, result = pcall(function() return commands[message.cmd](message) end)
  if not fine then result = {failed = type(result) == "table" and tostring(result.message) or tostring(result)} end
  real_out:write(answered .. M.encode(result or {}) .. "\n") -- in one: others write there too
end
close_session()
