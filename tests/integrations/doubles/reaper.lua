-- A double of REAPER for tests: lua reaper.lua SCRIPT_FOLDER, commands as JSON lines on stdin, answers on stdout.
--
-- Every call was held against the ReaScript API as published: https://www.reaper.fm/sdk/reascript/reascripthelp.html,
-- with its types and remarks in https://github.com/Ultraschall/ultraschall-lua-api-for-reaper and
-- https://github.com/GavinRay97/vscode-reascript-extension (resources/reaper-types.lua). It covers exactly the
-- functions that are `define`d below; any other is an error, as is an argument of the wrong kind or number, or a
-- deleted object. From there come, among others:
--   * TimeMap_timeToQN_abs and TimeMap_QNToTime_abs count on through bars that are cut short; whether the QN
--     functions without _abs and those of MIDI takes do is not said, so that those are not covered;
--   * GetTrackName says "Track N" for a track without a name; names of ExtState do not know upper case from lower;
--   * GetMediaSourceLength of MIDI is in quarter notes; P_EXT: of a take is kept with it;
--   * Undo_CanUndo2 names the step that undo would take back.
-- The numbers of actions are those that public scripts use under the same names: 40543 "Take: Implode items on same
-- track into takes", 40129 "Take: Delete active take from items".
-- It also holds rules that REAPER's users feel:
--   * notes, items, tracks and takes are changed inside an undo block only, and a block closes in the turn it opens;
--   * a turn (one deferred call) takes at most 50 ms; nothing may wait or open a dialog;
--   * actions on takes work on selected items; tempo markers are steps (ramps are not covered).
-- What is not published is assumed: that items imploded keep the order of their places, the first surviving, and that
-- the count of project states grows with every change.
-- Time is what the test says, plus what is spent within a turn. That is counted in instructions of Lua, not measured, so
-- that a busy computer changes nothing: 20 in a microsecond, what a slow computer does with texts and tables; a call of
-- REAPER's counts as five microseconds.

local FOLDER = arg[1]
local json = dofile(FOLDER .. "descant_link.lua") -- for the commands; what is under test comes below
local LONGEST, PPQ = 0.050, 960

local SECONDS_EACH, STRIDE = 1 / 20e6, 100
local strides, create = 0, coroutine.create
local function stride() strides = strides + 1 end
local function counted() debug.sethook(stride, "", STRIDE) end
counted()
function coroutine.create(work) -- a thread is counted on its own
  return create(function(...)
    counted()
    return work(...)
  end)
end
local function clock() return strides * STRIDE * SECONDS_EACH end

local violations, turn_started, virtual_now = {}, clock(), 100.0
local function violation(text)
  violations[#violations + 1] = text
  error("REAPER rule: " .. text, 2)
end

-- The project --------------------------------------------------------------------------------------

local project = {tracks = {}, markers = {}, grid_swing = 0}
local time_selection, cursor = {0, 0}, 0
local past, block, ui_locks, changes, guids = {}, nil, 0, 0, 0
local ext, deferred, exits, tooltip = {}, {}, {}, {}

local function guid()
  guids = guids + 1
  return ("{%08X-0000-4000-8000-000000000000}"):format(guids)
end

local function object(kind, fields)
  fields.kind, fields.alive, fields.guid = kind, true, guid()
  return fields
end

local function copy(value, seen)
  if type(value) ~= "table" then return value end
  if seen[value] then return seen[value] end
  local out = {}
  seen[value] = out
  for key, item in pairs(value) do out[key] = copy(item, seen) end
  return out
end

local function kill(value)
  if type(value) == "table" and value.alive ~= nil then value.alive = false end
end

local function each(work)
  for _, track in ipairs(project.tracks) do
    work(track)
    for _, item in ipairs(track.items) do
      work(item)
      for _, take in ipairs(item.takes) do work(take) end
    end
  end
end

local function restore(snapshot)
  each(kill) -- pointers into the project as it was are not valid any more
  project = snapshot
  each(function(value) value.alive = true end)
  changes = changes + 1
end

local function changed(what)
  if not block then violation(what .. " outside an undo block") end
  changes = changes + 1
end

-- Time ---------------------------------------------------------------------------------------------

-- markers: {qn, bpm in quarters, over, under}; the first is at 0. A meter begins a bar; tempo may change anywhere.
local function marker_times()
  local time, last, bpm, out = 0, 0, 120, {}
  for index, marker in ipairs(project.markers) do
    time = time + (marker.qn - last) * 60 / bpm
    last, bpm = marker.qn, marker.bpm
    out[index] = time
  end
  return out
end

local function qn_to_time(qn)
  local time, last, bpm = 0, 0, 120
  for _, marker in ipairs(project.markers) do
    if marker.qn > qn then break end
    time = time + (marker.qn - last) * 60 / bpm
    last, bpm = marker.qn, marker.bpm
  end
  return time + (qn - last) * 60 / bpm
end

local function time_to_qn(time)
  local at, last, bpm = 0, 0, 120
  for _, marker in ipairs(project.markers) do
    local reached = at + (marker.qn - last) * 60 / bpm
    if reached > time + 1e-12 then break end
    at, last, bpm = reached, marker.qn, marker.bpm
  end
  return last + (time - at) * bpm / 60
end

local function measures(count_or_qn)
  local meters = {}
  for _, marker in ipairs(project.markers) do
    if marker.over then meters[#meters + 1] = marker end
  end
  local index, qn, place, over, under = 0, 0, 0, 4, 4
  return function()
    while meters[place + 1] and meters[place + 1].qn <= qn + 1e-9 do
      place = place + 1
      over, under = meters[place].over, meters[place].under
    end
    local stop = qn + over * 4 / under
    if meters[place + 1] then stop = math.min(stop, meters[place + 1].qn) end
    local from = qn
    qn, index = stop, index + 1
    return index - 1, from, stop, over, under
  end
end

-- The API ------------------------------------------------------------------------------------------

local api = {}
local KINDS = {
  track = "MediaTrack*", item = "MediaItem*", take = "MediaItem_Take*", source = "PCM_source*",
}

local function counted_as_one(before, ...)
  strides = before + 1
  return ...
end

-- define("name", "kinds of arguments", function): ? after a kind that may be left out.
local function define(name, kinds, work)
  local wanted = {}
  for kind, optional in kinds:gmatch("(%a+)(%??)") do wanted[#wanted + 1] = {kind, optional == "?"} end
  api[name] = function(...)
    local given = select("#", ...)
    if given > #wanted then violation(name .. " takes " .. #wanted .. " arguments, got " .. given) end
    for index, want in ipairs(wanted) do
      local value, kind = (select(index, ...)), want[1]
      if index > given or value == nil then
        if not want[2] then violation(name .. ": argument " .. index .. " is missing") end
      elseif KINDS[kind] then
        if type(value) ~= "table" or value.kind ~= KINDS[kind] then violation(name .. ": no " .. KINDS[kind]) end
        if not value.alive then violation(name .. ": a " .. KINDS[kind] .. " that was deleted") end
      elseif kind == "int" then
        if type(value) ~= "number" or value ~= math.floor(value) then violation(name .. ": no whole number") end
      elseif kind == "project" then
        if value ~= 0 then violation(name .. ": only project 0 is covered") end
      elseif kind ~= "any" and type(value) ~= kind then
        violation(name .. ": argument " .. index .. " is no " .. kind)
      end
    end
    return counted_as_one(strides, work(...))
  end
end

define("TimeMap_timeToQN_abs", "project number", function(_, time) return time_to_qn(time) end)
define("TimeMap_QNToTime_abs", "project number", function(_, qn) return qn_to_time(qn) end)
define("TimeMap_GetMeasureInfo", "project int", function(_, wanted)
  for index, from, to, over, under in measures() do
    if index == wanted then return qn_to_time(from), from, to, over, under, 120.0 end
  end
end)
define("TimeMap2_timeToBeats", "project number", function(_, time)
  local qn = time_to_qn(time)
  for index, from, to, over, under in measures() do
    if qn < to then return (qn - from) * under / 4, index, over, qn * under / 4, under end
  end
end)
define("CountTempoTimeSigMarkers", "project", function() return #project.markers end)
define("GetTempoTimeSigMarker", "project int", function(_, index)
  local marker = project.markers[index + 1]
  if not marker then return false, 0, 0, 0, 0, 0, 0, false end
  return true, marker_times()[index + 1], 0, 0, marker.bpm, marker.over or -1, marker.under or -1, false
end)
define("GetSetProjectGrid", "project boolean", function() return 0, 0.25, project.grid_swing > 0 and 1 or 0, project.grid_swing end)
define("GetSet_LoopTimeRange2", "project boolean boolean number number boolean", function(_, set)
  if set then violation("the time selection is the user's") end
  return time_selection[1], time_selection[2]
end)
define("GetCursorPositionEx", "project", function() return cursor end)

define("CountTracks", "project", function() return #project.tracks end)
define("GetTrack", "project int", function(_, index) return project.tracks[index + 1] end)
define("GetTrackGUID", "track", function(track) return track.guid end)
define("GetTrackName", "track", function(track)
  if track.name ~= "" then return true, track.name end
  for index, other in ipairs(project.tracks) do
    if other == track then return true, "Track " .. index end
  end
end)
define("CountSelectedTracks", "project", function()
  local count = 0
  for _, track in ipairs(project.tracks) do count = count + (track.selected and 1 or 0) end
  return count
end)
define("GetSelectedTrack", "project int", function(_, index)
  for _, track in ipairs(project.tracks) do
    if track.selected then
      if index == 0 then return track end
      index = index - 1
    end
  end
end)
define("GetMediaTrackInfo_Value", "track string", function(track, name)
  if name ~= "IP_TRACKNUMBER" then violation("GetMediaTrackInfo_Value " .. name .. " is not covered") end
  for index, other in ipairs(project.tracks) do
    if other == track then return index + 0.0 end
  end
end)
define("GetSetMediaTrackInfo_String", "track string string boolean", function(track, name, value, set)
  if name ~= "P_NAME" then violation("GetSetMediaTrackInfo_String " .. name .. " is not covered") end
  if set then
    changed("a track's name")
    track.name = value
  end
  return true, track.name
end)
define("InsertTrackAtIndex", "int boolean", function(index)
  changed("a new track")
  table.insert(project.tracks, index + 1, object("MediaTrack*", {name = "", items = {}, selected = false}))
end)
define("DeleteTrack", "track", function(track)
  changed("a track")
  for index, other in ipairs(project.tracks) do
    if other == track then table.remove(project.tracks, index) end
  end
  kill(track)
end)

local function all_items()
  local out = {}
  for _, track in ipairs(project.tracks) do
    for _, item in ipairs(track.items) do out[#out + 1] = item end
  end
  return out
end

local function track_of(item)
  for _, track in ipairs(project.tracks) do
    for index, other in ipairs(track.items) do
      if other == item then return track, index end
    end
  end
end

local function selected_items()
  local out = {}
  for _, item in ipairs(all_items()) do
    if item.selected then out[#out + 1] = item end
  end
  return out
end

define("CountMediaItems", "project", function() return #all_items() end)
define("GetMediaItem", "project int", function(_, index) return all_items()[index + 1] end)
define("CountSelectedMediaItems", "project", function() return #selected_items() end)
define("GetSelectedMediaItem", "project int", function(_, index) return selected_items()[index + 1] end)
define("SelectAllMediaItems", "project boolean", function(_, on)
  for _, item in ipairs(all_items()) do item.selected = on end
end)
define("SetMediaItemSelected", "item boolean", function(item, on) item.selected = on end)
define("CountTrackMediaItems", "track", function(track) return #track.items end)
define("GetTrackMediaItem", "track int", function(track, index) return track.items[index + 1] end)
define("GetMediaItem_Track", "item", function(item) return (track_of(item)) end)
define("GetMediaItemInfo_Value", "item string", function(item, name)
  if name == "D_POSITION" then return qn_to_time(item.start) end
  if name == "D_LENGTH" then return qn_to_time(item.start + item.length) - qn_to_time(item.start) end
  if name == "B_LOOPSRC" then return item.loops and 1.0 or 0.0 end
  if name == "B_MUTE" then return item.mute and 1.0 or 0.0 end
  violation("GetMediaItemInfo_Value " .. name .. " is not covered")
end)
define("SetMediaItemInfo_Value", "item string number", function(item, name, value)
  if name ~= "B_MUTE" then violation("SetMediaItemInfo_Value " .. name .. " is not covered") end
  item.mute = value ~= 0 -- what sounds is no change of what was written
  return true
end)
define("GetSetMediaItemInfo_String", "item string string boolean", function(item, name, _, set)
  if name ~= "GUID" or set then violation("GetSetMediaItemInfo_String " .. name .. " is not covered") end
  return true, item.guid
end)
define("DeleteTrackMediaItem", "track item", function(track, item)
  changed("an item")
  local owner, index = track_of(item)
  if owner ~= track then violation("DeleteTrackMediaItem: the item is not on this track") end
  table.remove(track.items, index)
  kill(item)
  return true
end)
define("CreateNewMIDIItemInProj", "track number number boolean?", function(track, from, to, in_qn)
  changed("a new item")
  if not in_qn then from, to = time_to_qn(from), time_to_qn(to) end
  if to <= from then violation("CreateNewMIDIItemInProj: no length") end
  local take = object("MediaItem_Take*", {name = "", notes = {}, ccs = {}, offset = from, period = to - from})
  local item = object("MediaItem*", {start = from, length = to - from, takes = {take}, active = 1, loops = true})
  take.item = item
  track.items[#track.items + 1] = item
  return item
end)

define("CountTakes", "item", function(item) return #item.takes end)
define("GetTake", "item int", function(item, index) return item.takes[index + 1] end)
define("GetActiveTake", "item", function(item) return item.takes[item.active] end)
define("SetActiveTake", "take", function(take)
  for index, other in ipairs(take.item.takes) do
    if other == take then take.item.active = index end
  end
end)
define("TakeIsMIDI", "take", function(take) return not take.audio end)
define("GetSetMediaItemTakeInfo_String", "take string string boolean", function(take, name, value, set)
  if name ~= "P_NAME" and not name:find("^P_EXT:") then
    violation("GetSetMediaItemTakeInfo_String " .. name .. " is not covered")
  end
  local field = name == "P_NAME" and "name" or name
  if set then
    changed("a take's " .. name)
    take[field] = value
  end
  return take[field] ~= nil, take[field] or ""
end)
define("GetMediaItemTakeInfo_Value", "take string", function(_, name)
  if name ~= "D_PLAYRATE" then violation("GetMediaItemTakeInfo_Value " .. name .. " is not covered") end
  return 1.0
end)
define("GetMediaItemTake_Source", "take", function(take)
  take.source = take.source or object("PCM_source*", {take = take})
  return take.source
end)
define("GetMediaSourceLength", "source", function(source) return source.take.period, true end)

define("MIDI_CountEvts", "take", function(take) return true, #take.notes, #take.ccs, 0 end)
define("MIDI_GetNote", "take int", function(take, index)
  local note = take.notes[index + 1]
  if not note then return false, false, false, 0, 0, 0, 0, 0 end
  return true, false, note.mute or false, note.from, note.to, note.channel, note.pitch, note.velocity
end)
define("MIDI_GetCC", "take int", function(take, index)
  local cc = take.ccs[index + 1]
  if not cc then return false, false, false, 0, 0, 0, 0, 0 end
  return true, false, false, cc[1], cc[2], cc[3], cc[4], cc[5]
end)
define("MIDI_InsertCC", "take boolean boolean number int int int int", function(take, _, _, at, message, channel, two, three)
  changed("a controller")
  take.ccs[#take.ccs + 1] = {at, message, channel, two, three}
  return true
end)
define("MIDI_GetProjTimeFromPPQPos", "take number", function(take, at) return qn_to_time(take.offset + at / PPQ) end)
define("MIDI_GetPPQPosFromProjTime", "take number", function(take, time) return (time_to_qn(time) - take.offset) * PPQ end)
define("MIDI_InsertNote", "take boolean boolean number number int int int boolean?",
  function(take, _, mute, from, to, channel, pitch, velocity, unsorted)
    changed("a note")
    if from ~= math.floor(from) or to ~= math.floor(to) then violation("MIDI_InsertNote: not on a tick") end
    if pitch < 0 or pitch > 127 or velocity < 1 or velocity > 127 or channel < 0 or channel > 15 or to <= from then
      violation("MIDI_InsertNote: a note that MIDI does not have")
    end
    local note = {from = from, to = to, channel = channel, pitch = pitch, velocity = velocity, mute = mute}
    take.notes[#take.notes + 1] = note
    take.unsorted = take.unsorted or unsorted
    return true
  end)
define("MIDI_Sort", "take", function(take)
  table.sort(take.notes, function(a, b) return a.from == b.from and a.pitch < b.pitch or a.from < b.from end)
  take.unsorted = false
end)

-- 40543 puts the takes of all selected items on a track into the first of them, 40129 deletes the active take of
-- selected items.
local ACTIONS = {}
ACTIONS[40543] = function()
  for _, track in ipairs(project.tracks) do
    local first
    for index = 1, #track.items do
      local item = track.items[index]
      if item.selected then
        if not first then
          first = item
        else
          for _, take in ipairs(item.takes) do
            first.takes[#first.takes + 1] = take
            take.item = first
          end
          item.emptied = true
        end
      end
    end
    for index = #track.items, 1, -1 do
      if track.items[index].emptied then
        kill(track.items[index])
        table.remove(track.items, index)
      end
    end
  end
end
ACTIONS[40129] = function()
  for _, item in ipairs(selected_items()) do
    kill(table.remove(item.takes, item.active))
    item.active = math.max(1, math.min(item.active, #item.takes))
  end
end
define("Main_OnCommandEx", "int int project", function(command)
  if not ACTIONS[command] then violation("action " .. command .. " is not covered") end
  changed("an action")
  each(function(value)
    if value.kind == "MediaItem_Take*" and value.unsorted then violation("a take was left unsorted") end
  end)
  ACTIONS[command]()
end)

define("Undo_BeginBlock2", "project", function()
  if block then violation("an undo block inside an undo block") end
  block = copy(project, {})
end)
define("Undo_EndBlock2", "project string int", function(_, title)
  if not block then violation("Undo_EndBlock2 without a beginning") end
  past[#past + 1] = {title = title, project = block}
  block = nil
end)
define("Undo_CanUndo2", "project", function() return past[#past] and past[#past].title or nil end)
define("Undo_DoUndo2", "project", function()
  if block then violation("undo inside an undo block") end
  local step = table.remove(past)
  if not step then return 0 end
  restore(step.project)
  return 1
end)
define("PreventUIRefresh", "int", function(by) ui_locks = ui_locks + by end)
define("UpdateArrange", "", function() end)
define("GetProjectStateChangeCount", "project", function() return changes end)
define("ValidatePtr2", "project any string", function(_, value, kind)
  return type(value) == "table" and value.kind == kind and value.alive
end)

local function ext_name(section, key) return (section .. "\0" .. key):lower() end
define("GetExtState", "string string", function(section, key) return ext[ext_name(section, key)] or "" end)
define("SetExtState", "string string string boolean", function(section, key, value)
  if value:find("\n") then violation("SetExtState: a line break is lost when REAPER keeps it") end
  ext[ext_name(section, key)] = value
end)
define("DeleteExtState", "string string boolean", function(section, key) ext[ext_name(section, key)] = nil end)
define("GetOS", "", function() return "Other" end)
define("time_precise", "", function() return virtual_now + clock() - turn_started end)
define("defer", "function", function(work) deferred[#deferred + 1] = work end)
define("atexit", "function", function(work) exits[#exits + 1] = work end)
define("genGuid", "string?", function()
  return ("{%08X-%08X}"):format(math.random(0, 0x7FFFFFFF), math.random(0, 0x7FFFFFFF))
end)
define("GetAppVersion", "", function() return "7.22/linux-x86_64" end)
define("GetMousePosition", "", function() return 100, 100 end)
define("TrackCtl_SetToolTip", "string int int boolean", function(text)
  if text ~= "" then tooltip[#tooltip + 1] = text end
end)
define("RecursiveCreateDirectory", "string int", function(path)
  -- The test's side makes it: Lua alone cannot, and no shell may be started from here.
  io.stdout:write(json.encode({make = path}), "\n")
  io.stdout:flush()
  io.stdin:read("l")
  return 1
end)
define("GetUserInputs", "string int string string", function(_, count, captions, defaults)
  if count > 16 then violation("GetUserInputs has at most 16 fields") end
  if select(2, defaults:gsub(",", "")) >= count then violation("GetUserInputs: more values than fields") end
  if turn_started_in_defer then violation("a dialog from the background") end
  return true, dialog_answer or defaults
end)

-- What would hold REAPER up, or is no part of its Lua.
for _, name in ipairs({"execute", "exit", "tmpname"}) do
  os[name] = function() violation("os." .. name) end
end
io.popen = function() violation("io.popen") end
local stdin, stdout = io.stdin, io.stdout

reaper = setmetatable({}, {
  __index = function(_, name) return api[name] or violation("reaper." .. tostring(name) .. " is not covered") end,
  __newindex = function() violation("reaper is not to be changed") end,
})

local function guarded(work)
  turn_started = clock()
  local fine, problem = pcall(work)
  local spent = clock() - turn_started
  turn_started = clock()
  if not fine then violations[#violations + 1] = "error: " .. tostring(problem) end
  if block then violations[#violations + 1] = "an undo block was left open" end
  if ui_locks ~= 0 then violations[#violations + 1] = "PreventUIRefresh was left on" end
  if spent > LONGEST then violations[#violations + 1] = ("a turn took %.0f ms"):format(spent * 1000) end
  return fine
end

local function turns(count)
  for _ = 1, count do
    local now = deferred
    deferred = {}
    turn_started_in_defer = true
    for _, work in ipairs(now) do guarded(work) end
    turn_started_in_defer = false
  end
end

-- What a test asks for -----------------------------------------------------------------------------

local function take_from(item, name, notes, period)
  local take = object("MediaItem_Take*", {name = name, notes = {}, ccs = {}, offset = item.start, period = period})
  take.item = item
  for _, note in ipairs(notes) do
    take.notes[#take.notes + 1] = {
      from = note[1], to = note[1] + note[3], channel = item.channel or 0, pitch = note[2], velocity = note[4],
    }
  end
  return take
end

local commands = {}

function commands.load(message)
  project = {tracks = {}, markers = {}, grid_swing = message.swing or 0}
  for _, marker in ipairs(message.markers) do
    project.markers[#project.markers + 1] = {qn = marker[1], bpm = marker[2], over = marker[3] ~= json.null and marker[3] or nil, under = marker[4] ~= json.null and marker[4] or nil}
  end
  for _, lane in ipairs(message.lanes) do
    local track = object("MediaTrack*", {name = lane.name, items = {}, selected = false})
    for _, clip in ipairs(lane.clips) do
      local item = object("MediaItem*", {
        start = clip.start / PPQ, length = clip.length / PPQ, loops = true, active = 1, selected = clip.selected,
        takes = {}, channel = lane.drum and 9 or 0,
      })
      item.takes[1] = take_from(item, "own", clip.notes, (clip.period > 0 and clip.period or clip.length) / PPQ)
      if lane.program > 0 then item.takes[1].ccs[1] = {0, 0xC0, 0, lane.program, 0} end
      track.items[#track.items + 1] = item
    end
    project.tracks[#project.tracks + 1] = track
  end
  time_selection = {qn_to_time(message.time[1] / PPQ), qn_to_time(message.time[2] / PPQ)}
  cursor = qn_to_time((message.cursor or 0) / PPQ)
  past, changes = {}, changes + 1
end

function commands.edit(message)
  local note = project.tracks[message.lane + 1].items[message.clip + 1].takes[1].notes[1]
  past[#past + 1] = {title = "Edit", project = copy(project, {})}
  note.pitch = note.pitch + 1
  changes = changes + 1
end

function commands.press(message)
  dialog_answer = message.text
  for key, value in pairs(message.options or {}) do ext["descant\0" .. key] = tostring(value) end
  guarded(function() dofile(FOLDER .. "descant_" .. message.action .. ".lua") end)
end

function commands.step() turns(1) end

function commands.undo()
  local step = table.remove(past)
  if step then restore(step.project) end
end

function commands.quit()
  for _, work in ipairs(exits) do guarded(work) end
  exits, deferred = {}, {}
end

function commands.state()
  local tracks = json.list()
  for _, track in ipairs(project.tracks) do
    local items = json.list()
    for _, item in ipairs(track.items) do
      local takes = json.list()
      for _, take in ipairs(item.takes) do
        local notes = json.list()
        for _, note in ipairs(take.notes) do
          notes[#notes + 1] = json.list({
            (take.offset - item.start) * PPQ + note.from, note.pitch, note.to - note.from, note.velocity,
          })
        end
        takes[#takes + 1] = {name = take.name, notes = notes, ccs = #take.ccs}
      end
      items[#items + 1] = {
        start = item.start * PPQ, length = item.length * PPQ, active = item.active, mute = item.mute or false,
        selected = item.selected or false, takes = takes,
      }
    end
    tracks[#tracks + 1] = {name = track.name, items = items}
  end
  local titles = json.list()
  for _, step in ipairs(past) do titles[#titles + 1] = step.title end
  return {tracks = tracks, undo = titles, said = json.list(tooltip), violations = json.list(violations)}
end

for line in stdin:lines() do
  local message = json.decode(line)
  virtual_now = message.now
  local result = commands[message.cmd](message) or {}
  stdout:write(json.encode(result), "\n")
  stdout:flush()
end
