-- @description Descant: Fill selection
-- @noindex
DESCANT_ACTION = "fill"
dofile((debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or "") .. "descant_press.lua")
