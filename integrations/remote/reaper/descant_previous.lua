-- @description Descant: Previous candidate
-- @noindex
DESCANT_ACTION = "previous"
dofile((debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "") .. "descant_press.lua")
