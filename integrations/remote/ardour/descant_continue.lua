ardour {
  ["type"] = "EditorAction", name = "Descant: Continue", author = "Descant", license = "Apache-2.0",
  description = [[Leaves the wish where "Descant in the background" finds it.]]
}

function factory () return function ()
  local file = io.open(ARDOUR.user_config_directory(-1) .. "/scripts/Descant/pressed", "a")
  if file then
    file:write("continue\n")
    file:close()
  end
end end
