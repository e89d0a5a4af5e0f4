-- @description Descant: Sketch from text
-- @noindex
local fine, text = reaper.GetUserInputs("Descant: Sketch", 1, "In words:,extrawidth=300", reaper.GetExtState("Descant", "text"))
if fine and text ~= "" then
  reaper.SetExtState("Descant", "text", text, true)
  DESCANT_ACTION = "sketch"
  dofile((debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "") .. "descant_press.lua")
end
