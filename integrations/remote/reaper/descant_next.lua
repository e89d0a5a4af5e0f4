-- @description Descant: Next candidate
-- @noindex
DESCANT_ACTION = "next"
dofile((debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "") .. "descant_press.lua")
