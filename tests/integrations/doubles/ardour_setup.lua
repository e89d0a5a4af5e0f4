-- What a user has done before Descant is used in Ardour's editor: ardour7-lua ardour_setup.lua SESSION SCRIPT...
-- An empty session named as its folder is made, and what Ardour's Script Manager would remember is printed: a line for every script, its
-- name and what Ardour keeps of it, in hexadecimal digits. Of a script Ardour keeps the bytecode of its factory alone.
AudioEngine:set_backend("JACK", "ardour-setup", "")
assert(AudioEngine:start(false) == 0)
Session = assert(create_session(arg[1], "song", 48000))

for index = 2, #arg do
  local file = assert(io.open(arg[index]))
  local text = file:read("a")
  file:close()
  local facts, scope = nil, {}
  scope.ardour = function(said) facts = said end
  assert(load(text, arg[index], "t", scope))()
  local function value(name, field) return ("%s[%q] = %q "):format(name, field[1], field[2]) end
  local out = {}
  for _, field in ipairs({{"n", facts.name}, {"s", text}, {"f", string.dump(scope.factory, true)}}) do
    out[#out + 1] = value("KEPT", field)
  end
  local kept = table.concat(out) .. "KEPT['a'] = {} "
  print("KEPT " .. facts.name .. "|" .. kept:gsub(".", function(char) return ("%02x"):format(char:byte()) end))
end
Session:save_state("")
close_session()
