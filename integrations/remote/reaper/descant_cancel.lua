-- @description Descant: Cancel
-- @noindex
DESCANT_ACTION = "cancel"
dofile((debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "") .. "descant_press.lua")
