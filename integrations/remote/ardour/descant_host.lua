-- What Descant's link has to know of Ardour, in its editor and without.
return function(folder, verbs, now, say)
  return {
    daw = "ardour",
    daw_version = "7 or 8",
    capabilities = {
      tempo_map = true, arrangement = true, context = true, new_tracks = true, audition = true, place = "regions",
      resolution = 960, undo = verbs.undo ~= nil, sketch = true,
    },
    folder = folder,
    now = now,
    say = say,
    verbs = verbs,
  }
end
