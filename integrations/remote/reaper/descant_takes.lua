-- @noindex
-- Descant in REAPER: candidates as takes, from the first bar that is written to the one that is kept.
--
-- A take that is a candidate carries its number as extension data of the take, so that it is known wherever
-- REAPER moves it. What the user has played is never touched: where an item of the user's is filled, its own take
-- stays in it, before and after a candidate was accepted.

return function(M, P)
  local r = reaper
  local TICKS = P.TICKS
  local IMPLODE, DELETE_TAKE = 40543, 40129 -- REAPER's own actions on takes of selected items
  local verbs = {read = P.read}
  local proposal -- the last one: items and tracks (GUIDs), shown, count, whole, title, state

  local function item_guid(item)
    local _, guid = r.GetSetMediaItemInfo_String(item, "GUID", "", false)
    return guid
  end

  local function item_by_guid(guid)
    for index = 0, r.CountMediaItems(0) - 1 do
      local item = r.GetMediaItem(0, index)
      if item_guid(item) == guid then return item end
    end
  end

  local function select_only(items)
    r.SelectAllMediaItems(0, false)
    for _, item in ipairs(items) do r.SetMediaItemSelected(item, true) end
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

  -- What is there of the proposal ------------------------------------------------------------------

  -- The candidates of an item by their numbers.
  local function candidates_in(item)
    local found, any = {}, false
    for _, take in ipairs(P.takes_of(item)) do
      local number = P.number_of(take)
      if number then found[number], any = take, true end
    end
    return any and found or nil
  end

  local function proposed_items()
    local found = {}
    for _, guid in ipairs(proposal and proposal.items or {}) do
      local item = item_by_guid(guid)
      if item and candidates_in(item) then found[#found + 1] = item end -- an undo may have taken them away
    end
    return found
  end

  local function current()
    local items = proposed_items()
    if #items == 0 then
      proposal = nil
      M.fail("empty", "There is no proposal", "Ask for one first.")
    end
    return items
  end

  -- Take away every candidate but `kept`. Within an undo step.
  local function drop(items, kept)
    for _, item in ipairs(items) do
      local candidates = candidates_in(item)
      local is_own = P.own_take(item) ~= nil
      if not (is_own or (kept and candidates[kept])) then
        r.DeleteTrackMediaItem(r.GetMediaItem_Track(item), item)
      else
        select_only({item})
        for number in pairs(candidates) do
          if number ~= kept then
            r.SetActiveTake(candidates_in(item)[number])
            r.Main_OnCommandEx(DELETE_TAKE, 0, 0)
          end
        end
        local rest = candidates_in(item)
        if kept and rest and rest[kept] then
          r.SetActiveTake(rest[kept])
          P.mark(rest[kept], nil)
        else
          r.SetActiveTake(P.own_take(item))
        end
      end
    end
    for _, guid in ipairs(proposal.tracks) do
      local track = P.track_by_guid(guid)
      if track and r.CountTrackMediaItems(track) == 0 then r.DeleteTrack(track) end
    end
  end

  local function show(items, number)
    for _, item in ipairs(items) do
      local candidates, own = candidates_in(item), P.own_take(item)
      if not own then r.SetMediaItemInfo_Value(item, "B_MUTE", number == 0 and 1 or 0) end
      local take = number == 0 and own or candidates[number]
      if take then r.SetActiveTake(take) end
    end
    r.UpdateArrange()
  end

  -- Writing ----------------------------------------------------------------------------------------

  -- The only item of a track that holds all of a span; nil where there is none, or more in the way.
  local function item_around(track, from, to)
    local found
    for index = 0, r.CountTrackMediaItems(track) - 1 do
      local item = r.GetTrackMediaItem(track, index)
      local first, last = P.item_span(item)
      if last > from + 1e-6 and first < to - 1e-6 then
        if found or first > from + 1e-6 or last < to - 1e-6 or not P.own_take(item) then return nil end
        found = item
      end
    end
    return found
  end

  local function place_in(take, qn)
    return P.rounded(r.MIDI_GetPPQPosFromProjTime(take, P.time_of(qn)))
  end

  local function insert(take, start, length, channel, pitch, velocity)
    local from = place_in(take, start)
    local to = math.max(from + 1, place_in(take, start + length))
    r.MIDI_InsertNote(take, false, false, from, to, channel, pitch, velocity, true)
  end

  -- The user's item once more, without the notes that the candidate stands for.
  local function copy_kept(take, item, source, origin, removed)
    local gone = {}
    for _, note in ipairs(removed) do gone[note[1] .. ":" .. note[2]] = true end
    for _, note in ipairs(P.sounding_notes(item, source)) do
      if not gone[P.rounded((note[1] - origin) * TICKS) .. ":" .. note[2]] then
        insert(take, note[1], note[3], note[5], note[2], note[4])
      end
    end
    local _, _, controllers = r.MIDI_CountEvts(source)
    for index = 0, controllers - 1 do
      local _, _, muted, at, message, channel, two, three = r.MIDI_GetCC(source, index)
      local to = P.rounded(r.MIDI_GetPPQPosFromProjTime(take, r.MIDI_GetProjTimeFromPPQPos(source, at)))
      r.MIDI_InsertCC(take, false, muted, to, message, channel, two, three)
    end
  end

  -- One part of all candidates, on one track. Returns the item that holds them.
  local function write_part(track, candidates, place, origin, action)
    local part = candidates[1].parts[place]
    local from, to = origin + part.start / TICKS, origin + part["end"] / TICKS
    local around = action == "fill" and item_around(track, from, to) or nil
    local channel, source = part.drum and 9 or 0, nil
    if around then
      from, to = P.item_span(around)
      source = P.own_take(around)
      local _, count = r.MIDI_CountEvts(source)
      if count > 0 then channel = select(6, r.MIDI_GetNote(source, 0)) end
    end
    local items = {around}
    for _, candidate in ipairs(candidates) do
      part = candidate.parts[place]
      local item = r.CreateNewMIDIItemInProj(track, P.time_of(from), P.time_of(to), false)
      local take = r.GetActiveTake(item)
      if around then copy_kept(take, around, source, origin, part.removed) end
      for _, note in ipairs(part.notes) do
        insert(take, origin + note[1] / TICKS, note[3] / TICKS, channel, note[2], note[4])
      end
      r.MIDI_Sort(take)
      r.GetSetMediaItemTakeInfo_String(take, "P_NAME", candidate.label, true)
      P.mark(take, candidate.number)
      items[#items + 1] = item
    end
    if #items == 1 then return items[1] end
    select_only(items)
    r.Main_OnCommandEx(IMPLODE, 0, 0)
    return r.GetSelectedMediaItem(0, 0)
  end

  local function write_all(candidates, reference, action, made)
    local below
    for _, guid in ipairs(reference.chosen) do
      local number = r.GetMediaTrackInfo_Value(P.track_by_guid(guid), "IP_TRACKNUMBER")
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
        made.tracks[#made.tracks + 1] = r.GetTrackGUID(track)
      else
        track = P.track_by_guid(reference.all[part.track + 1])
        if not track then M.fail("changed", "A track has gone, so nothing was written", "Ask again.") end
      end
      local item = write_part(track, candidates, place, reference.origin, action)
      made.items[#made.items + 1] = item_guid(item)
    end
  end

  -- Whether the proposal is the last thing that was done to the project.
  local function is_last()
    return r.Undo_CanUndo2(0) == proposal.title and r.GetProjectStateChangeCount(0) == proposal.state
  end

  function verbs.write(arguments)
    local reference, again = arguments.reference, arguments.again == true
    if again and #proposed_items() == 0 then
      proposal = nil
      M.fail("failed", "The candidates were taken back, so Descant stopped writing", "Ask again for others.")
    end
    if P.stamp_of(reference.chosen, reference.first, reference.last) ~= arguments.stamp then
      if again then verbs.cancel() end
      M.fail("changed", "The music was changed after it was read, so nothing was written",
        "Ask again; the candidates that were made are kept.")
    end
    local candidates = arguments.candidates
    if #candidates == 0 or #candidates[1].parts == 0 then return end
    local action = tostring(arguments.action)
    local shown = again and math.min(proposal.shown, #candidates) or 1
    local made = {items = {}, tracks = {}, shown = shown, count = #candidates, title = "Descant: " .. action}
    if again and is_last() then
      r.Undo_DoUndo2(0) -- what was written before becomes part of this step
      proposal = nil
    end
    one_step(action, function()
      if again and proposal then drop(proposed_items(), nil) end
      write_all(candidates, reference, action, made)
    end)
    proposal = made
    show(proposed_items(), made.shown)
    made.whole = arguments.whole ~= false
    made.state = r.GetProjectStateChangeCount(0)
    return {placed = made.count}
  end

  -- The user's keys --------------------------------------------------------------------------------

  function verbs.shown() return proposal and proposal.shown or 0 end

  -- The program has gone: a proposal that is not whole goes too.
  function verbs.forsaken()
    if proposal and not proposal.whole then pcall(verbs.cancel) end
  end

  function verbs.audition(arguments)
    local items = current()
    local was_last = is_last()
    proposal.shown = math.max(0, math.min(proposal.count, arguments.number))
    show(items, proposal.shown)
    if was_last then proposal.state = r.GetProjectStateChangeCount(0) end
  end

  function verbs.accept()
    local items, kept = current(), proposal.shown
    if kept == 0 then return verbs.cancel() end
    if not proposal.whole then
      M.fail("failed", "The candidates are still being written", "Accept one when they are whole.")
    end
    one_step("accept candidate " .. kept, function() drop(items, kept) end)
    proposal = nil
  end

  function verbs.cancel()
    local items = current()
    one_step("drop candidates", function() drop(items, nil) end)
    proposal = nil
  end

  function verbs.undo()
    if not r.Undo_CanUndo2(0) then M.fail("empty", "There is nothing to undo", "") end
    r.Undo_DoUndo2(0)
  end

  return verbs
end
