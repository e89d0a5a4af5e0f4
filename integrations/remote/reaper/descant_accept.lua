-- @description Descant: Accept candidate
-- @noindex
DESCANT_ACTION = "accept"
dofile((debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "") .. "descant_press.lua")
