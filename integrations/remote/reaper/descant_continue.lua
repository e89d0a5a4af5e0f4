-- @description Descant: Continue
-- @noindex
DESCANT_ACTION = "continue"
dofile((debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "") .. "descant_press.lua")
