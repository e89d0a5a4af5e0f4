-- @description Descant: candidates beside what is selected
-- @version 0.1.0
-- @author Descant
-- @provides
--   [nomain] descant_link.lua
--   [main] descant_*.lua
-- @about
--   Runs in the background after the first key. Needs nothing but REAPER 6.44 or newer and Descant running.

-- One instance runs; the actions (descant_continue.lua ...) start it when it does not, and leave their wish in
-- REAPER's ExtState. Everything here happens in short turns, the project is only ever changed inside one undo
-- block, and only while it is what was read.

local r = reaper
local SECTION = "Descant"
local TICKS = 960
local here = debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or ""
local M = dofile(here .. "descant_link.lua")

local IMPLODE, CROP, DELETE_TAKE = 40543, 40131, 40129 -- REAPER's own actions on takes of selected items

local function time_to_qn(time) return r.TimeMap2_timeToQN(0, time) end
local function qn_to_time(qn) return r.TimeMap2_QNToTime(0, qn) end
local function rounded(value) return math.floor(value + 0.5) end

-- What is there ------------------------------------------------------------------------------------

local function midi_take(item)
  local take = r.GetActiveTake(item)
  if take and r.TakeIsMIDI(take) then return take end
end

local function item_span(item)
  local start = r.GetMediaItemInfo_Value(item, "D_POSITION")
  local length = r.GetMediaItemInfo_Value(item, "D_LENGTH")
  return time_to_qn(start), time_to_qn(start + length)
end

-- The notes of an item as they sound, loops written out, cut at its edges: {start, pitch, duration, velocity,
-- channel} in quarter notes of the project.
local function sounding_notes(item, take)
  local first, last = item_span(item)
  local loop = 0
  if r.GetMediaItemInfo_Value(item, "B_LOOPSRC") > 0 then
    local length, in_qn = r.GetMediaSourceLength(r.GetMediaItemTake_Source(take))
    if in_qn then
      loop = length / r.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE")
    else
      loop = time_to_qn(qn_to_time(first) + length) - first
    end
  end
  local notes = {}
  local _, count = r.MIDI_CountEvts(take)
  for index = 0, count - 1 do
    local _, _, muted, from, to, channel, pitch, velocity = r.MIDI_GetNote(take, index)
    if not muted then
      local start = r.MIDI_GetProjQNFromPPQPos(take, from)
      local length = r.MIDI_GetProjQNFromPPQPos(take, to) - start
      repeat
        if start > last - 1e-6 then break end
        if start > first - 1e-6 then
          notes[#notes + 1] = {start, pitch, math.min(length, last - start), velocity, channel}
        end
        start = start + loop
      until loop < 1e-3
    end
  end
  return notes
end

-- The bars from measure `first` to `last`, their meters, and the tempos in them, in ticks from the first bar.
local function time_line(first, last)
  local _, origin, stop, over, under = r.TimeMap_GetMeasureInfo(0, first)
  local meters, tempos, told, nominal = M.list(), M.list(), nil, nil
  local function tick(qn) return rounded((qn - origin) * TICKS) end
  local function tempo_at(qn)
    local quarter = qn_to_time(qn + 1 / 64) - qn_to_time(qn)
    local value = rounded(quarter * 64 * 1000000)
    if value ~= told then tempos[#tempos + 1], told = M.list({tick(qn), value}), value end
  end
  local begin = origin
  for measure = first, last do
    local _, from, to, top, bottom = r.TimeMap_GetMeasureInfo(0, measure)
    if measure == first or top ~= over or bottom ~= under or math.abs(from - begin - (nominal or 0)) > 1e-6 then
      meters[#meters + 1] = M.list({tick(from), top, bottom})
    end
    over, under, nominal, begin, stop = top, bottom, top * 4 / bottom, from, to
  end
  -- Every tempo marker within, and each quarter of a ramp, where the tempo is never the same for long.
  local places = {origin}
  for index = 0, r.CountTempoTimeSigMarkers(0) - 1 do
    local _, time, _, _, _, _, _, ramp = r.GetTempoTimeSigMarker(0, index)
    local qn = time_to_qn(time)
    if qn > origin and qn < stop then places[#places + 1] = qn end
    if ramp then
      local to = stop
      if index + 1 < r.CountTempoTimeSigMarkers(0) then
        to = math.min(stop, time_to_qn(select(2, r.GetTempoTimeSigMarker(0, index + 1))))
      end
      for step = math.max(math.ceil(qn), math.ceil(origin)), math.ceil(to) - 1 do
        if step > origin then places[#places + 1] = step end
      end
    end
  end
  table.sort(places)
  for _, qn in ipairs(places) do tempo_at(qn) end
  return {origin = origin, stop = stop, meters = meters, tempos = tempos, tick = tick}
end

local function measure_of(qn)
  local _, measure = r.TimeMap2_timeToBeats(0, qn_to_time(qn + 1e-6))
  return measure
end

-- Tracks and span of what the user has selected, in quarter notes.
local function selected_span()
  local from, to = r.GetSet_LoopTimeRange2(0, false, false, 0, 0, false)
  local has_time = to > from
  local tracks, start, stop, known = {}, math.huge, -math.huge, {}
  local function add(track)
    if not known[track] then known[track], tracks[#tracks + 1] = true, track end
  end
  for index = 0, r.CountSelectedMediaItems(0) - 1 do
    local item = r.GetSelectedMediaItem(0, index)
    if midi_take(item) then
      local first, last = item_span(item)
      start, stop = math.min(start, first), math.max(stop, last)
      add(r.GetMediaItem_Track(item))
    end
  end
  if #tracks == 0 and has_time then
    for index = 0, r.CountSelectedTracks(0) - 1 do add(r.GetSelectedTrack(0, index)) end
    start, stop = time_to_qn(from), time_to_qn(to)
  elseif has_time and time_to_qn(from) < stop and time_to_qn(to) > start then
    start, stop = math.max(start, time_to_qn(from)), math.min(stop, time_to_qn(to))
  end
  if #tracks > 0 and stop > start then return tracks, start, stop end
end

local function program_of(take)
  local _, _, controllers = r.MIDI_CountEvts(take)
  for index = 0, math.min(controllers, 16) - 1 do
    local _, _, _, _, message, _, program = r.MIDI_GetCC(take, index)
    if message == 0xC0 then return program end
  end
end

local function track_in_window(track, line, from, breathe)
  local notes, channels, program = M.list(), {}, nil
  for index = 0, r.CountTrackMediaItems(track) - 1 do
    if breathe then
      breathe()
      if not r.ValidatePtr2(0, track, "MediaTrack*") or index >= r.CountTrackMediaItems(track) then break end
    end
    local item = r.GetTrackMediaItem(track, index)
    local take = midi_take(item)
    local first, last = item_span(item)
    if take and last > from and first < line.stop and r.GetMediaItemInfo_Value(item, "B_MUTE") == 0 then
      program = program or program_of(take)
      for _, note in ipairs(sounding_notes(item, take)) do
        local start, length = line.tick(note[1]), math.max(1, rounded(note[3] * TICKS))
        if note[1] > from - 1e-6 and note[1] < line.stop - 1e-6 then
          notes[#notes + 1] = M.list({math.max(0, start), note[2], length, math.max(1, note[4])})
          channels[note[5]] = (channels[note[5]] or 0) + 1
        end
      end
    end
  end
  local drums = (channels[9] or 0) * 2 > #notes
  return notes, drums, program
end

local function guid_of(track) return r.GetTrackGUID(track) end

local function track_by_guid(guid)
  for index = 0, r.CountTracks(0) - 1 do
    local track = r.GetTrack(0, index)
    if guid_of(track) == guid then return track end
  end
end

-- The state of what is selected: tempos, meters and notes of its tracks from its first bar on.
local function stamp_of(guids, first, last)
  local line = time_line(first, last)
  local numbers = {}
  for _, list in ipairs({line.tempos, line.meters}) do
    for _, entry in ipairs(list) do
      for _, value in ipairs(entry) do numbers[#numbers + 1] = value end
    end
  end
  for _, guid in ipairs(guids) do
    local track = track_by_guid(guid)
    if not track then return "gone" end
    numbers[#numbers + 1] = -1
    local notes = track_in_window(track, line, line.origin)
    table.sort(notes, function(a, b)
      for field = 1, 4 do
        if a[field] ~= b[field] then return a[field] < b[field] end
      end
      return false
    end)
    for _, note in ipairs(notes) do
      for _, value in ipairs(note) do numbers[#numbers + 1] = value end
    end
  end
  return M.stamp(numbers)
end

local verbs = {}

function verbs.read(arguments, breathe)
  local tracks, start, stop = selected_span()
  if arguments.action == "sketch" then
    tracks, start = {}, time_to_qn(r.GetCursorPositionEx(0))
    stop = start + 1e-3
  elseif not tracks then
    M.fail("empty", "Nothing is selected", "Select one or more MIDI items, or tracks and a time span.")
  end
  local first, last = measure_of(start), measure_of(stop - 2e-6)
  local guids, chosen = {}, {}
  for _, track in ipairs(tracks) do
    guids[#guids + 1] = guid_of(track)
    chosen[track] = true
  end
  local state = stamp_of(guids, first, last + arguments.after)
  local line = time_line(math.max(0, first - arguments.before), last + arguments.after)
  local out, places, all = M.list(), M.list(), M.list()
  local project = r.GetProjectStateChangeCount(0)
  for index = 0, (arguments.action == "sketch" and 0 or r.CountTracks(0)) - 1 do
    breathe()
    local track = r.GetTrack(0, index)
    if not track then break end
    local notes, drums, program = track_in_window(track, line, line.origin, breathe)
    if #notes > 0 or chosen[track] then
      local _, name = r.GetTrackName(track)
      out[#out + 1] = {name = name, notes = notes, drum = drums, program = program or 0, channel = 0}
      all[#all + 1] = guid_of(track)
      if chosen[track] then places[#places + 1] = #out - 1 end
    end
  end
  if project ~= r.GetProjectStateChangeCount(0) and state ~= stamp_of(guids, first, last + arguments.after) then
    M.fail("changed", "The music was changed while it was read", "Ask again.")
  end
  local _, _, swing_on, swing = r.GetSetProjectGrid(0, false)
  return {
    tpq = TICKS, origin = line.origin, length = line.tick(line.stop), tempos = line.tempos, meters = line.meters,
    tracks = out, swing = swing_on == 1 and swing or 0,
    selection = {start = math.max(0, line.tick(start)), ["end"] = line.tick(stop), tracks = places},
    stamp = state,
    reference = {
      origin = line.origin, first = first, last = last + arguments.after, all = all, chosen = M.list(guids),
    },
  }
end

-- What is written ----------------------------------------------------------------------------------

local proposal -- the last one: items {guid, own = number of the user's takes}, tracks {guid}, shown, count

local function item_by_guid(guid)
  for index = 0, r.CountMediaItems(0) - 1 do
    local item = r.GetMediaItem(0, index)
    local _, own = r.GetSetMediaItemInfo_String(item, "GUID", "", false)
    if own == guid then return item end
  end
end

local function item_guid(item)
  local _, guid = r.GetSetMediaItemInfo_String(item, "GUID", "", false)
  return guid
end

-- Run `work` as one undo step named `title`; whatever goes wrong, the step is closed and taken back.
local function one_step(title, work)
  local selected = {}
  for index = 0, r.CountSelectedMediaItems(0) - 1 do
    selected[#selected + 1] = item_guid(r.GetSelectedMediaItem(0, index))
  end
  r.Undo_BeginBlock2(0)
  r.PreventUIRefresh(1)
  local fine, problem = pcall(work)
  r.SelectAllMediaItems(0, false)
  for _, guid in ipairs(selected) do
    local item = item_by_guid(guid)
    if item then r.SetMediaItemSelected(item, true) end
  end
  r.PreventUIRefresh(-1)
  r.Undo_EndBlock2(0, "Descant: " .. title, -1)
  r.UpdateArrange()
  if not fine then
    r.Undo_DoUndo2(0)
    error(problem, 0)
  end
end

-- The only item of a track that holds all of a span; nil where there is none, or more in the way.
local function item_around(track, from, to)
  local found
  for index = 0, r.CountTrackMediaItems(track) - 1 do
    local item = r.GetTrackMediaItem(track, index)
    local first, last = item_span(item)
    if last > from + 1e-6 and first < to - 1e-6 then
      if found or first > from + 1e-6 or last < to - 1e-6 or not midi_take(item) then return nil end
      found = item
    end
  end
  return found
end

local function insert(take, start, length, channel, pitch, velocity)
  local from = r.MIDI_GetPPQPosFromProjQN(take, start)
  local to = r.MIDI_GetPPQPosFromProjQN(take, start + length)
  r.MIDI_InsertNote(take, false, false, from, to, channel, pitch, velocity, true)
end

-- The user's item once more, without the notes that the candidate stands for.
local function copy_kept(take, item, origin, removed)
  local gone = {}
  for _, note in ipairs(removed) do gone[note[1] .. ":" .. note[2]] = true end
  local source = midi_take(item)
  for _, note in ipairs(sounding_notes(item, source)) do
    if not gone[rounded((note[1] - origin) * TICKS) .. ":" .. note[2]] then
      insert(take, note[1], note[3], note[5], note[2], note[4])
    end
  end
  local _, _, controllers = r.MIDI_CountEvts(source)
  for index = 0, controllers - 1 do
    local _, _, muted, at, message, channel, two, three = r.MIDI_GetCC(source, index)
    local to = r.MIDI_GetPPQPosFromProjQN(take, r.MIDI_GetProjQNFromPPQPos(source, at))
    r.MIDI_InsertCC(take, false, muted, to, message, channel, two, three)
  end
end

local function write_part(track, candidates, place, origin, action)
  local part = candidates[1].parts[place]
  local from, to = origin + part.start / TICKS, origin + part["end"] / TICKS
  local around = action == "fill" and item_around(track, from, to) or nil
  local channel = part.drum and 9 or 0
  if around then
    from, to = item_span(around)
    local _, count = r.MIDI_CountEvts(midi_take(around))
    if count > 0 then channel = select(6, r.MIDI_GetNote(midi_take(around), 0)) end
  end
  local items = {}
  for _, candidate in ipairs(candidates) do
    part = candidate.parts[place]
    local item = r.CreateNewMIDIItemInProj(track, from, to, true)
    local take = r.GetActiveTake(item)
    if around then copy_kept(take, around, origin, part.removed) end
    for _, note in ipairs(part.notes) do
      insert(take, origin + note[1] / TICKS, note[3] / TICKS, channel, note[2], note[4])
    end
    r.MIDI_Sort(take)
    r.GetSetMediaItemTakeInfo_String(take, "P_NAME", candidate.label, true)
    items[#items + 1] = item
  end
  local own = around and r.CountTakes(around) or 0
  local first = around or items[1]
  if #items > 1 or around then
    r.SelectAllMediaItems(0, false)
    if around then r.SetMediaItemSelected(around, true) end
    for _, item in ipairs(items) do r.SetMediaItemSelected(item, true) end
    r.Main_OnCommandEx(IMPLODE, 0, 0)
    first = r.GetSelectedMediaItem(0, 0)
  end
  r.SetActiveTake(r.GetTake(first, own))
  return {guid = item_guid(first), own = own}
end

function verbs.write(arguments)
  local reference = arguments.reference
  if stamp_of(reference.chosen, reference.first, reference.last) ~= arguments.stamp then
    M.fail("changed", "The music was changed after it was read, so nothing was written",
      "Ask again; the candidates that were made are kept.")
  end
  local candidates = arguments.candidates
  if #candidates == 0 or #candidates[1].parts == 0 then return end
  local made = {items = {}, tracks = {}, shown = 1, count = #candidates}
  one_step(tostring(arguments.action), function()
    local below
    for _, guid in ipairs(reference.chosen) do
      local number = r.GetMediaTrackInfo_Value(track_by_guid(guid), "IP_TRACKNUMBER")
      below = math.max(below or 0, math.floor(number))
    end
    below = below or r.CountTracks(0)
    for place, part in ipairs(candidates[1].parts) do
      local track
      if part.track == M.null or part.track == nil then
        r.InsertTrackAtIndex(below, true)
        track = r.GetTrack(0, below)
        below = below + 1
        r.GetSetMediaTrackInfo_String(track, "P_NAME", part.name, true)
        made.tracks[#made.tracks + 1] = guid_of(track)
      else
        track = track_by_guid(reference.all[part.track + 1])
        if not track then M.fail("changed", "A track has gone, so nothing was written", "Ask again.") end
      end
      made.items[#made.items + 1] = write_part(track, candidates, place, reference.origin, arguments.action)
    end
  end)
  proposal = made
  return {placed = made.count}
end

local function proposed_items()
  local found = {}
  for _, entry in ipairs(proposal and proposal.items or {}) do
    local item = item_by_guid(entry.guid)
    -- An undo may have taken the candidates away and left the user's item.
    if item and r.CountTakes(item) > entry.own then found[#found + 1] = {item = item, own = entry.own} end
  end
  if #found == 0 then
    proposal = nil
    M.fail("empty", "There is no proposal", "Ask for one first.")
  end
  return found
end

function verbs.audition(arguments)
  local items = proposed_items()
  proposal.shown = math.max(0, math.min(proposal.count, arguments.number))
  for _, entry in ipairs(items) do
    local place = proposal.shown == 0 and 0 or entry.own + proposal.shown - 1
    if entry.own == 0 then r.SetMediaItemInfo_Value(entry.item, "B_MUTE", proposal.shown == 0 and 1 or 0) end
    r.SetActiveTake(r.GetTake(entry.item, math.min(place, r.CountTakes(entry.item) - 1)))
  end
  r.UpdateArrange()
end

function verbs.accept()
  local items = proposed_items()
  if proposal.shown == 0 then return verbs.cancel() end
  one_step("accept candidate " .. proposal.shown, function()
    for _, entry in ipairs(items) do
      r.SelectAllMediaItems(0, false)
      r.SetMediaItemSelected(entry.item, true)
      r.Main_OnCommandEx(CROP, 0, 0)
    end
  end)
  proposal = nil
end

function verbs.cancel()
  local items = proposed_items()
  one_step("drop candidates", function()
    for _, entry in ipairs(items) do
      if entry.own == 0 then
        r.DeleteTrackMediaItem(r.GetMediaItem_Track(entry.item), entry.item)
      else
        r.SelectAllMediaItems(0, false)
        r.SetMediaItemSelected(entry.item, true)
        while r.CountTakes(entry.item) > entry.own do
          r.SetActiveTake(r.GetTake(entry.item, r.CountTakes(entry.item) - 1))
          r.Main_OnCommandEx(DELETE_TAKE, 0, 0)
        end
        r.SetActiveTake(r.GetTake(entry.item, 0))
      end
    end
    for _, guid in ipairs(proposal.tracks) do
      local track = track_by_guid(guid)
      if track and r.CountTrackMediaItems(track) == 0 then r.DeleteTrack(track) end
    end
  end)
  proposal = nil
end

function verbs.undo()
  if not r.Undo_CanUndo2(0) then M.fail("empty", "There is nothing to undo", "") end
  r.Undo_DoUndo2(0)
end

-- Keys and turns -----------------------------------------------------------------------------------

local OPTIONS = {bars = 4, candidates = 4, temperature = 1}

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
    audition = true, swing = true, place = "takes", resolution = TICKS,
  },
  folder = (r.GetExtState(SECTION, "folder") ~= "" and r.GetExtState(SECTION, "folder")) or DESCANT_FOLDER,
  now = r.time_precise,
  make_folder = function(path) r.RecursiveCreateDirectory(path, 0) end,
  new_name = function() return (r.genGuid(""):gsub("[^%w]", "")) end,
  say = say,
  verbs = verbs,
})

local LOCAL = {
  next = function() verbs.audition({number = (proposal and proposal.shown or 0) + 1}) end,
  previous = function() verbs.audition({number = (proposal and proposal.shown or 0) - 1}) end,
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
  local action = r.GetExtState(SECTION, "action")
  if action ~= "" and (link:connected() or LOCAL[action] or now > (tonumber(r.GetExtState(SECTION, "pressed")) or 0) + 1.5) then
    r.DeleteExtState(SECTION, "action", false)
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
