-- @noindex
-- Descant in REAPER: what is read from a project.
--
-- Places are quarter notes from the project's start, TICKS of them are told. Times of the project are seconds; the
-- two are turned into each other by the _abs functions alone, which count on through bars that are cut short.

return function(M)
  local r = reaper
  local TICKS = 960
  local P = {TICKS = TICKS}

  function P.rounded(value) return math.floor(value + 0.5) end
  function P.qn_of(time) return r.TimeMap_timeToQN_abs(0, time) end
  function P.time_of(qn) return r.TimeMap_QNToTime_abs(0, qn) end
  local rounded, qn_of, time_of = P.rounded, P.qn_of, P.time_of

  -- Takes ------------------------------------------------------------------------------------------

  local MARK = "P_EXT:descant" -- on takes that are candidates: their number

  function P.mark(take, number) r.GetSetMediaItemTakeInfo_String(take, MARK, number and tostring(number) or "", true) end

  function P.number_of(take)
    local _, text = r.GetSetMediaItemTakeInfo_String(take, MARK, "", false)
    return tonumber(text)
  end

  local function takes_of(item)
    local out = {}
    for index = 0, r.CountTakes(item) - 1 do
      local take = r.GetTake(item, index)
      if take then out[#out + 1] = take end -- a take lane may be empty
    end
    return out
  end
  P.takes_of = takes_of

  function P.midi_take(item)
    local take = r.GetActiveTake(item)
    if take and r.TakeIsMIDI(take) then return take end
  end
  local midi_take = P.midi_take

  -- The user's own take of an item: the one that sounds, or the first beside a candidate; nil where all are ours.
  function P.own_take(item)
    local active = r.GetActiveTake(item)
    if active and not P.number_of(active) then return r.TakeIsMIDI(active) and active or nil end
    for _, take in ipairs(takes_of(item)) do
      if not P.number_of(take) then return r.TakeIsMIDI(take) and take or nil end
    end
  end

  -- Items and their notes --------------------------------------------------------------------------

  function P.item_span(item)
    local start = r.GetMediaItemInfo_Value(item, "D_POSITION")
    local length = r.GetMediaItemInfo_Value(item, "D_LENGTH")
    return qn_of(start), qn_of(start + length)
  end
  local item_span = P.item_span

  -- The notes of an item as they sound, loops written out, cut at its edges: {start, pitch, duration, velocity,
  -- channel}.
  function P.sounding_notes(item, take)
    local first, last = item_span(item)
    local loop = 0
    if r.GetMediaItemInfo_Value(item, "B_LOOPSRC") > 0 then
      local length, in_qn = r.GetMediaSourceLength(r.GetMediaItemTake_Source(take))
      if in_qn then
        loop = length / r.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE")
      else
        loop = qn_of(time_of(first) + length) - first
      end
    end
    local notes = {}
    local _, count = r.MIDI_CountEvts(take)
    for index = 0, count - 1 do
      local _, _, muted, from, to, channel, pitch, velocity = r.MIDI_GetNote(take, index)
      if not muted then
        local start = qn_of(r.MIDI_GetProjTimeFromPPQPos(take, from))
        local length = qn_of(r.MIDI_GetProjTimeFromPPQPos(take, to)) - start
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
  local sounding_notes = P.sounding_notes

  local function program_of(take)
    local _, _, controllers = r.MIDI_CountEvts(take)
    for index = 0, math.min(controllers, 16) - 1 do
      local _, _, _, _, message, _, program = r.MIDI_GetCC(take, index)
      if message == 0xC0 then return program end
    end
  end

  -- Bars and tempos --------------------------------------------------------------------------------

  local function measure_start(measure)
    local time, _, _, over, under = r.TimeMap_GetMeasureInfo(0, measure)
    return qn_of(time), over, under
  end

  local function measure_of(qn)
    local _, measure = r.TimeMap2_timeToBeats(0, time_of(qn + 1e-6))
    return measure
  end

  -- The bars from measure `first` to `last`, their meters, and the tempos in them, in ticks from the first bar.
  local function time_line(first, last)
    local origin, over, under = measure_start(first)
    local meters, tempos, told, nominal = M.list(), M.list(), nil, nil
    local function tick(qn) return rounded((qn - origin) * TICKS) end
    local function tempo_at(qn)
      local quarter = time_of(qn + 1 / 64) - time_of(qn)
      local value = rounded(quarter * 64 * 1000000)
      if value ~= told then tempos[#tempos + 1], told = M.list({tick(qn), value}), value end
    end
    local begin = origin
    for measure = first, last do
      local from, top, bottom = measure_start(measure)
      if measure == first or top ~= over or bottom ~= under or math.abs(from - begin - (nominal or 0)) > 1e-6 then
        meters[#meters + 1] = M.list({tick(from), top, bottom})
      end
      over, under, nominal, begin = top, bottom, top * 4 / bottom, from
    end
    local stop = measure_start(last + 1)
    -- Every tempo marker within, and each quarter of a ramp, where the tempo is never the same for long.
    local places = {origin}
    for index = 0, r.CountTempoTimeSigMarkers(0) - 1 do
      local _, time, _, _, _, _, _, ramp = r.GetTempoTimeSigMarker(0, index)
      local qn = qn_of(time)
      if qn > origin and qn < stop then places[#places + 1] = qn end
      if ramp then
        local to = stop
        if index + 1 < r.CountTempoTimeSigMarkers(0) then
          to = math.min(stop, qn_of(select(2, r.GetTempoTimeSigMarker(0, index + 1))))
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

  -- Tracks -----------------------------------------------------------------------------------------

  function P.track_by_guid(guid)
    for index = 0, r.CountTracks(0) - 1 do
      local track = r.GetTrack(0, index)
      if r.GetTrackGUID(track) == guid then return track end
    end
  end

  -- Tracks and span of what the user has selected.
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
      start, stop = qn_of(from), qn_of(to)
    elseif has_time and qn_of(from) < stop and qn_of(to) > start then
      start, stop = math.max(start, qn_of(from)), math.min(stop, qn_of(to))
    end
    if #tracks > 0 and stop > start then return tracks, start, stop end
  end

  -- A track's notes in a window, whether they are drums, and its program. pick: which take of an item counts.
  local function track_in_window(track, line, pick, breathe)
    local notes, channels, program = M.list(), {}, nil
    for index = 0, r.CountTrackMediaItems(track) - 1 do
      if breathe then
        breathe()
        if not r.ValidatePtr2(0, track, "MediaTrack*") or index >= r.CountTrackMediaItems(track) then break end
      end
      local item = r.GetTrackMediaItem(track, index)
      local take = pick(item)
      local first, last = item_span(item)
      if take and last > line.origin and first < line.stop and r.GetMediaItemInfo_Value(item, "B_MUTE") == 0 then
        program = program or program_of(take)
        for _, note in ipairs(sounding_notes(item, take)) do
          local start, length = line.tick(note[1]), math.max(1, rounded(note[3] * TICKS))
          if note[1] > line.origin - 1e-6 and note[1] < line.stop - 1e-6 then
            notes[#notes + 1] = M.list({math.max(0, start), note[2], length, math.max(1, note[4])})
            channels[note[5]] = (channels[note[5]] or 0) + 1
          end
        end
      end
    end
    local drums = (channels[9] or 0) * 2 > #notes
    return notes, drums, program
  end

  -- The state of what is selected: tempos, meters and the user's notes of its tracks from its first bar on.
  function P.stamp_of(guids, first, last)
    local line = time_line(first, last)
    local numbers = {}
    for _, list in ipairs({line.tempos, line.meters}) do
      for _, entry in ipairs(list) do
        for _, value in ipairs(entry) do numbers[#numbers + 1] = value end
      end
    end
    for _, guid in ipairs(guids) do
      local track = P.track_by_guid(guid)
      if not track then return "gone" end
      numbers[#numbers + 1] = -1
      local notes = track_in_window(track, line, P.own_take)
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

  -- The verb: see integrations/base.py. A sketch is about nothing that is there: it begins with the bar of the edit
  -- cursor.
  function P.read(arguments, breathe)
    local is_sketch = arguments.action == "sketch"
    local tracks, start, stop = selected_span()
    if is_sketch then
      tracks, start = {}, qn_of(r.GetCursorPositionEx(0))
      stop = start + 1 / TICKS
    elseif not tracks then
      M.fail("empty", "Nothing is selected", "Select one or more MIDI items, or tracks and a time span.")
    end
    local first, last = measure_of(start), measure_of(math.max(start, stop - 2e-6))
    local guids, chosen = {}, {}
    for _, track in ipairs(tracks) do
      guids[#guids + 1] = r.GetTrackGUID(track)
      chosen[track] = true
    end
    local state = P.stamp_of(guids, first, last + arguments.after)
    local line = time_line(math.max(0, first - arguments.before), last + arguments.after)
    local out, places, all = M.list(), M.list(), M.list()
    local project = r.GetProjectStateChangeCount(0)
    for index = 0, (is_sketch and 0 or r.CountTracks(0)) - 1 do
      breathe()
      local track = r.GetTrack(0, index)
      if not track then break end
      local notes, drums, program = track_in_window(track, line, midi_take, breathe)
      if #notes > 0 or chosen[track] then
        local _, name = r.GetTrackName(track)
        out[#out + 1] = {name = name, notes = notes, drum = drums, program = program or 0, channel = 0}
        all[#all + 1] = r.GetTrackGUID(track)
        if chosen[track] then places[#places + 1] = #out - 1 end
      end
    end
    if project ~= r.GetProjectStateChangeCount(0) and state ~= P.stamp_of(guids, first, last + arguments.after) then
      M.fail("changed", "The music was changed while it was read", "Ask again.")
    end
    local _, _, swing_on, swing = r.GetSetProjectGrid(0, false)
    return {
      tpq = TICKS, origin = line.origin, length = line.tick(line.stop), tempos = line.tempos, meters = line.meters,
      tracks = out, swing = swing_on == 1 and math.max(0, swing) or 0,
      selection = {start = math.max(0, line.tick(start)), ["end"] = math.max(line.tick(start) + 1, line.tick(stop)), tracks = places},
      stamp = state,
      reference = {
        origin = line.origin, first = first, last = last + arguments.after, all = all, chosen = M.list(guids),
      },
    }
  end

  return P
end
