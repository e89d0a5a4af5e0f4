-- Descant in Ardour 7 and 8: what is read from a session and written into it.
--
--   local verbs = loadfile("descant_session.lua")()(M, function() return regions end, undo)
--
-- `selected` gives the selected regions; `undo` does what the user's undo does, and is there in the editor only.
-- Candidates are copies of a region, with a source of their own, on the same track at their place, or on new tracks;
-- all but the one that is shown are muted, and so is the region that a filled one stands for. The user's own notes
-- are never touched.

return function(M, selected, undo)
  local TICKS, PER_BEAT = 960, 1920 -- ours, and Ardour's, to the quarter note
  local verbs, proposal = {undo = undo}, nil

  -- Ardour's iterators do not keep alive the list that they go through: a list that nothing but the loop knows may be
  -- collected in its midst, and Ardour dies of it. So it is held here until all is out.
  local function items(list)
    local out = {}
    for item in list:iter() do out[#out + 1] = item end
    return out
  end

  local function rounded(value) return math.floor(value + 0.5) end

  -- Quarter notes of a Temporal.Beats; it prints as beats:ticks.
  local function quarters(beats)
    local sign, whole, ticks = tostring(beats):match("^(%-?)(%d+):(%-?%d+)$")
    local value = tonumber(whole) + tonumber(ticks) / PER_BEAT
    return sign == "-" and -value or value
  end

  local function position(qn) return Temporal.timepos_t.from_ticks(rounded(qn * PER_BEAT)) end
  local function length_of(qn) return Temporal.timecnt_t.from_ticks(rounded(qn * PER_BEAT), Temporal.timepos_t.from_ticks(0)) end
  local function beats(qn)
    local ticks = rounded(qn * PER_BEAT)
    return Temporal.Beats(ticks // PER_BEAT, ticks % PER_BEAT)
  end

  local function span(region)
    local from = quarters(region:position():beats())
    return from, from + quarters(region:length():beats())
  end

  local function midi(region)
    local found = region:to_midiregion()
    if not found:isnil() then return found end
  end

  local function id_of(region) return region:to_stateful():id():to_s() end

  local function tracks()
    local out = {}
    for _, route in ipairs(items(Session:get_tracks())) do
      local track = route:to_track()
      if not track:isnil() and not track:to_midi_track():isnil() then out[#out + 1] = track end
    end
    return out
  end

  local function regions_of(track)
    local out = {}
    for _, region in ipairs(items(track:playlist():region_list())) do
      if midi(region) then out[#out + 1] = region end
    end
    table.sort(out, function(a, b) return (span(a)) < (span(b)) end)
    return out
  end

  local function ours(region) return region:name():find("^Descant %d+") ~= nil end

  -- {start, pitch, duration, velocity, channel} in quarter notes of the song.
  local function notes_of(region)
    local from, to = span(region)
    local start = quarters(region:start():beats())
    local out = {}
    for _, note in ipairs(items(ARDOUR.LuaAPI.note_list(midi(region):model()))) do
      local at = from + quarters(note:time()) - start
      if at > from - 1e-6 and at < to - 1e-6 then
        local length = math.min(quarters(note:length()), to - at)
        out[#out + 1] = {at, note:note(), length, note:velocity(), note:channel()}
      end
    end
    return out
  end

  -- Tempos and meters from bar line to bar line around two places, looked up beat by beat.
  local function time_line(from, to, before, after)
    local map = Temporal.TempoMap.read()
    -- A change counts for its own place only a moment later.
    local function just_after(qn) return position(qn + 1 / 480) end
    local function meter_at(qn)
      local meter = map:meter_at(just_after(qn))
      return meter:divisions_per_bar(), meter:note_value()
    end
    -- The start of the bar that holds a place: every beat back from it is asked for its bar and beat.
    local function bar_start(qn)
      local text = tostring(map:bbt_at(position(qn)))
      local _, beat, ticks = text:match("(%-?%d+)|(%d+)|(%d+)")
      local _, under = meter_at(qn)
      return math.max(0, qn - ((tonumber(beat) - 1) + tonumber(ticks) / PER_BEAT) * 4 / under)
    end
    local origin = bar_start(from)
    for _ = 1, before do
      if origin <= 0 then break end
      origin = bar_start(origin - 1 / 64)
    end
    local meters, tempos, over, under, told = M.list(), M.list(), nil, nil, nil
    local at, bars_after = origin, 0
    local function tick(qn) return rounded((qn - origin) * TICKS) end
    while at < to - 1e-6 or bars_after < after do
      local top, bottom = meter_at(at)
      if top ~= over or bottom ~= under then
        meters[#meters + 1] = M.list({tick(at), top, bottom})
        over, under = top, bottom
      end
      if at > to - 1e-6 then bars_after = bars_after + 1 end
      local stop = at + top * 4 / bottom
      for beat = 0, top - 1 do
        local place = at + beat * 4 / bottom
        local tempo = rounded(60000000 / map:tempo_at(just_after(place)):quarter_notes_per_minute())
        if tempo ~= told then tempos[#tempos + 1], told = M.list({tick(place), tempo}), tempo end
        -- A meter that begins within this bar cuts it short.
        local o, u = meter_at(place)
        if beat > 0 and (o ~= top or u ~= bottom) then
          stop = place
          break
        end
      end
      at = stop
    end
    return {origin = origin, stop = at, meters = meters, tempos = tempos, tick = tick}
  end

  local function rows(track, line, skip_candidates)
    local out = M.list()
    for _, region in ipairs(regions_of(track)) do
      local from, to = span(region)
      if to > line.origin and from < line.stop and not (skip_candidates and ours(region)) and not region:muted() then
        for _, note in ipairs(notes_of(region)) do
          if note[1] > line.origin - 1e-6 and note[1] < line.stop - 1e-6 then
            out[#out + 1] = M.list({line.tick(note[1]), note[2], math.max(1, rounded(note[3] * TICKS)), math.max(1, note[4])})
          end
        end
      end
    end
    table.sort(out, function(a, b) return a[1] == b[1] and a[2] < b[2] or a[1] < b[1] end)
    return out
  end

  local function track_named(name)
    for _, track in ipairs(tracks()) do
      if track:name() == name then return track end
    end
  end

  local function stamp_of(names, from, to, after)
    local line, numbers = time_line(from, to, 0, after), {}
    for _, list in ipairs({line.meters, line.tempos}) do
      for _, entry in ipairs(list) do
        for _, value in ipairs(entry) do numbers[#numbers + 1] = value end
      end
    end
    for _, name in ipairs(names) do
      local track = track_named(name)
      if not track then return "gone" end
      numbers[#numbers + 1] = -1
      for _, row in ipairs(rows(track, line, true)) do
        for _, value in ipairs(row) do numbers[#numbers + 1] = value end
      end
    end
    return M.stamp(numbers)
  end

  -- A sketch is about nothing that is there: it begins with the bar of the playhead.
  local function read_sketch()
    local at = quarters(Temporal.timepos_t(Session:transport_sample()):beats())
    local line = time_line(at, at + 1 / TICKS, 0, 0)
    local start = line.tick(at)
    return {
      tpq = TICKS, origin = line.origin, length = line.tick(line.stop), tempos = line.tempos, meters = line.meters,
      tracks = M.list(), selection = {start = start, ["end"] = start + 1, tracks = M.list()},
      stamp = stamp_of({}, at, at + 1 / TICKS, 0),
      reference = {
        origin = line.origin, from = at, to = at + 1 / TICKS, after = 0, names = M.list(), all = M.list(), ids = M.list(),
      },
    }
  end

  function verbs.read(arguments, breathe)
    if arguments.action == "sketch" then return read_sketch() end
    local from, to, chosen, ids = math.huge, -math.huge, {}, M.list()
    for _, region in ipairs(selected()) do
      if midi(region) then
        local first, last = span(region)
        from, to = math.min(from, first), math.max(to, last)
        ids[#ids + 1] = id_of(region)
        chosen[id_of(region)] = true
      end
    end
    if #ids == 0 then M.fail("empty", "Nothing is selected", "Select one or more MIDI regions.") end
    local line = time_line(from, to, arguments.before, arguments.after)
    local out, places, names, all = M.list(), M.list(), M.list(), M.list()
    for _, track in ipairs(tracks()) do
      breathe()
      local is_chosen = false
      for _, region in ipairs(regions_of(track)) do is_chosen = is_chosen or chosen[id_of(region)] end
      local notes = rows(track, line, false)
      if #notes > 0 or is_chosen then
        out[#out + 1] = {name = track:name(), notes = notes, drum = false, program = 0, channel = 0}
        all[#all + 1] = track:name()
        if is_chosen then
          places[#places + 1] = #out - 1
          names[#names + 1] = track:name()
        end
      end
    end
    return {
      tpq = TICKS, origin = line.origin, length = line.tick(line.stop), tempos = line.tempos, meters = line.meters,
      tracks = out, selection = {start = line.tick(from), ["end"] = line.tick(to), tracks = places},
      stamp = stamp_of(names, from, to, arguments.after),
      reference = {origin = line.origin, from = from, to = to, after = arguments.after, names = names, all = all, ids = ids},
    }
  end

  -- A copy of a region with other notes, at another place: candidates need a source of their own.
  -- Ardour makes an undo step of every change of notes, and lets none be made within a step of ours: these come
  -- before it, and whoever goes back behind a proposal passes them, with nothing to be seen of it.
  local function copy_with(region, name, from, to, notes)
    local copy = ARDOUR.RegionFactory.clone_region(region, true, false)
    copy:set_name(name)
    local model, start = midi(copy):model(), quarters(copy:start():beats())
    local command = model:new_note_diff_command(name)
    for _, note in ipairs(items(ARDOUR.LuaAPI.note_list(model))) do command:remove(note) end
    for _, note in ipairs(notes) do
      command:add(ARDOUR.LuaAPI.new_noteptr(note[5] or 0, beats(start + note[1] - from), beats(note[3]), note[2], note[4]))
    end
    model:apply_command(Session, command)
    copy:set_length(length_of(to - from))
    return copy
  end

  -- Put a region on a track. What lies there afterwards is a copy of what was given.
  local function placed(track, region, from)
    local known = {}
    for _, old in ipairs(regions_of(track)) do known[id_of(old)] = true end
    track:playlist():add_region(region, position(from), 1, false)
    for _, new in ipairs(regions_of(track)) do
      if not known[id_of(new)] then return new end
    end
    error("the region did not come")
  end

  -- Run `work` as one undo step, which takes back what it does to these playlists and to the muting of regions.
  local step
  local function one_step(title, playlists, work)
    step = {}
    Session:begin_reversible_command("Descant: " .. title)
    for _, playlist in ipairs(playlists) do playlist:to_stateful():clear_changes() end
    local fine, problem = pcall(work)
    for _, playlist in ipairs(playlists) do step[#step + 1] = playlist:to_statefuldestructible() end
    for _, changed in ipairs(step) do Session:add_stateful_diff_command(changed) end
    Session:commit_reversible_command(nil)
    if not fine then error(problem, 0) end
  end

  -- Within a step: what the user's own region was before, undo brings back.
  local function mute(region, muted)
    region:to_stateful():clear_changes()
    region:set_muted(muted)
    step[#step + 1] = region:to_statefuldestructible()
  end

  local function region_by_id(track, id)
    for _, region in ipairs(regions_of(track)) do
      if id_of(region) == id then return region end
    end
  end

  local function new_track(name)
    local one, track = ARDOUR.ChanCount(ARDOUR.DataType("midi"), 1), nil
    local list = Session:new_midi_track(one, one, true, ARDOUR.PluginInfo(), nil, nil, 1, name,
      ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
    for _, new in ipairs(items(list)) do track = new:to_track() end
    return track
  end

  -- Where a part goes: its track and span, and the user's regions that a fill stands for.
  local function part_on(track, part, reference, action)
    local out = {
      track = track, channel = part.drum and 9 or 0, covered = {},
      from = reference.origin + part.start / TICKS, to = reference.origin + part["end"] / TICKS,
    }
    if action ~= "fill" then return out end
    local from, to = out.from, out.to
    for _, region in ipairs(regions_of(track)) do
      local first, last = span(region)
      if last > from + 1e-6 and first < to - 1e-6 and not ours(region) then
        out.covered[#out.covered + 1] = region
        out.from, out.to = math.min(out.from, first), math.max(out.to, last)
      end
    end
    return out
  end

  -- What a candidate's region holds: its own notes, and those of the regions that it stands for.
  local function notes_for(part, own, reference)
    local notes, gone = {}, {}
    for _, note in ipairs(own.removed) do gone[note[1] .. ":" .. note[2]] = true end
    for _, region in ipairs(part.covered) do
      for _, note in ipairs(notes_of(region)) do
        if not gone[rounded((note[1] - reference.origin) * TICKS) .. ":" .. note[2]] then notes[#notes + 1] = note end
      end
    end
    for _, note in ipairs(own.notes) do
      notes[#notes + 1] = {reference.origin + note[1] / TICKS, note[2], note[3] / TICKS, note[4], part.channel}
    end
    return notes
  end

  function verbs.write(arguments)
    local reference = arguments.reference
    if stamp_of(reference.names, reference.from, reference.to, reference.after) ~= arguments.stamp then
      M.fail("changed", "The music was changed after it was read, so nothing was written",
        "Ask again; the candidates that were made are kept.")
    end
    local candidates = arguments.candidates
    if #candidates == 0 or #candidates[1].parts == 0 then return end
    local seed
    for _, name in ipairs(reference.names) do
      for _, id in ipairs(reference.ids) do seed = seed or region_by_id(track_named(name), id) end
    end
    for _, track in ipairs(seed and {} or tracks()) do seed = seed or regions_of(track)[1] end
    if not seed then
      M.fail("failed", "Ardour lets a script make no first MIDI region, and the session has none",
        "Draw or record one anywhere, then ask again.")
    end
    local made = {shown = 1, count = #candidates, entries = {}, tracks = {}, covered = {}}
    local parts, playlists, known = {}, {}, {}
    for place, part in ipairs(candidates[1].parts) do
      local track = part.track ~= M.null and part.track and track_named(reference.all[part.track + 1])
      if not track then
        track = new_track(part.name)
        made.tracks[#made.tracks + 1] = track:name()
      end
      parts[place] = part_on(track, part, reference, arguments.action)
      if not known[track:name()] then known[track:name()], playlists[#playlists + 1] = true, track:playlist() end
    end
    for place, part in ipairs(parts) do
      part.copies = {}
      for number, candidate in ipairs(candidates) do
        local notes = notes_for(part, candidate.parts[place], reference)
        part.copies[number] = copy_with(seed, candidate.label, part.from, part.to, notes)
      end
    end
    one_step(tostring(arguments.action), playlists, function()
      for _, part in ipairs(parts) do
        for number, candidate in ipairs(candidates) do
          local region = placed(part.track, part.copies[number], part.from)
          region:set_muted(candidate.number ~= 1)
          made.entries[#made.entries + 1] = {track = part.track:name(), id = id_of(region), number = candidate.number}
        end
        for _, region in ipairs(part.covered) do
          mute(region, true)
          made.covered[#made.covered + 1] = {track = part.track:name(), id = id_of(region)}
        end
      end
    end)
    proposal = made
    return {placed = made.count}
  end

  local function each(entries, work)
    local count = 0
    for _, entry in ipairs(entries) do
      local track = track_named(entry.track)
      local region = track and region_by_id(track, entry.id)
      if region then
        work(region, track, entry)
        count = count + 1
      end
    end
    return count
  end

  local function playlists_of(entries)
    local out, known = {}, {}
    each(entries, function(_, track)
      if not known[track:name()] then known[track:name()], out[#out + 1] = true, track:playlist() end
    end)
    return out
  end

  local function current()
    if proposal and each(proposal.entries, function() end) > 0 then return proposal end
    proposal = nil
    M.fail("empty", "There is no proposal", "Ask for one first.")
  end

  function verbs.shown() return proposal and proposal.shown or 0 end

  function verbs.audition(arguments)
    local now = current()
    now.shown = math.max(0, math.min(now.count, arguments.number))
    each(now.entries, function(region, _, entry) region:set_muted(entry.number ~= now.shown) end)
    each(now.covered, function(region) region:set_muted(now.shown > 0) end)
  end

  local function drop(keep)
    local now = current()
    one_step(keep and "accept" or "drop candidates", playlists_of(now.entries), function()
      each(now.entries, function(region, track, entry)
        if entry.number ~= keep then track:playlist():remove_region(region) end
      end)
      each(now.covered, function(region, track)
        if keep then track:playlist():remove_region(region) else mute(region, false) end
      end)
    end)
    proposal = nil -- a new track stays, empty: Ardour lets no script remove one
  end

  function verbs.accept()
    local now = current()
    drop(now.shown > 0 and now.shown or nil)
  end

  function verbs.cancel() drop(nil) end

  return verbs
end
