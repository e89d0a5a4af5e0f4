-- @noindex
-- What every action does: leave the wish where descant.lua looks for it, and become it where it does not run.
local r = reaper
local here = debug.getinfo(1, "S").source:match("^@?(.*[/\\])") or ""

-- Where the program looks, unless `descant daw install` has written it down: its own folder, as it chooses it.
local function usual_folder()
  local home, system = os.getenv("HOME") or "", r.GetOS()
  local own = os.getenv("DESCANT_HOME")
  if own and own ~= "" then return own .. "/daw" end
  if system:find("^Win") then return (os.getenv("LOCALAPPDATA") or ""):gsub("\\", "/") .. "/descant/daw" end
  if system:find("OSX") or system:find("macOS") then return home .. "/Library/Application Support/descant/daw" end
  local data = os.getenv("XDG_DATA_HOME")
  return (data and data ~= "" and data or home .. "/.local/share") .. "/descant/daw"
end

local alive = tonumber(r.GetExtState("Descant", "alive"))
local runs = alive and r.time_precise() - alive <= 2
local before = runs and r.GetExtState("Descant", "action") or "" -- keys that it has not come to yet
r.SetExtState("Descant", "action", before .. DESCANT_ACTION .. " ", false)
r.SetExtState("Descant", "pressed", ("%.3f"):format(r.time_precise()), false)
if not runs then
  local written = loadfile(here .. "descant_folder.lua")
  if written then written() else DESCANT_FOLDER = usual_folder() end
  dofile(here .. "descant.lua")
end
