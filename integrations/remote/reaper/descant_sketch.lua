-- @description Descant: Sketch from text
-- @noindex
-- What was asked last is offered again; REAPER would cut it at its first comma.
local last = reaper.GetExtState("Descant", "text"):gsub(",", ";")
local fine, text = reaper.GetUserInputs("Descant: Sketch", 1, "In words:,extrawidth=300", last)
if fine and text ~= "" then
  reaper.SetExtState("Descant", "text", text, true)
  DESCANT_ACTION = "sketch"
  dofile((debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "") .. "descant_press.lua")
end
