-- @description Descant: Accompany
-- @noindex
DESCANT_ACTION = "accompany"
dofile((debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "") .. "descant_press.lua")
