-- @description Descant: Controls
-- @noindex
-- A small window with sliders. What they say is kept by REAPER and sent along with every key.
local r = reaper
local SLIDERS = {
  {name = "candidates", title = "Candidates", least = 1, most = 8, usual = 4, step = 1},
  {name = "bars", title = "Bars to continue", least = 1, most = 32, usual = 4, step = 1},
  {name = "temperature", title = "Daring", least = 0.5, most = 1.5, usual = 0.95, step = 0.05},
  {name = "density", title = "Most notes a bar (0: free)", least = 0, most = 32, usual = 0, step = 1},
}
local ROW, WIDTH = 44, 320
local held

local function value_of(slider)
  return tonumber(r.GetExtState("Descant", slider.name)) or slider.usual
end

local function set(slider, share)
  local value = slider.least + math.max(0, math.min(1, share)) * (slider.most - slider.least)
  value = math.floor(value / slider.step + 0.5) * slider.step
  r.SetExtState("Descant", slider.name, ("%g"):format(value), true)
end

local function draw()
  gfx.setfont(1, "Arial", 15)
  for row, slider in ipairs(SLIDERS) do
    local top, value = (row - 1) * ROW + 8, value_of(slider)
    local share = (value - slider.least) / (slider.most - slider.least)
    gfx.set(0.85, 0.85, 0.85, 1)
    gfx.x, gfx.y = 12, top
    gfx.drawstr(slider.title .. ": " .. ("%g"):format(value))
    gfx.set(0.35, 0.35, 0.35, 1)
    gfx.rect(12, top + 22, WIDTH - 24, 8, 1)
    gfx.set(0.3, 0.6, 0.9, 1)
    gfx.rect(12, top + 22, (WIDTH - 24) * share, 8, 1)
  end
end

local function turn()
  if gfx.mouse_cap & 1 == 1 then
    held = held or SLIDERS[gfx.mouse_y // ROW + 1]
    if held then set(held, (gfx.mouse_x - 12) / (WIDTH - 24)) end
  else
    held = nil
  end
  draw()
  gfx.update()
  if gfx.getchar() >= 0 then r.defer(turn) end
end

gfx.init("Descant", WIDTH, ROW * #SLIDERS + 12)
turn()
