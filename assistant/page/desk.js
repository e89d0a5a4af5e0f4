// The stage and the player, of which there is one each. What they call back is set by page.js.

import { Player } from "./player.js";
import { Stage } from "./stage.js";
import { $ } from "./state.js";

export const hooks = {}; // region, seek, say, lock: see Stage. place, began, end: see Player

export const stage = new Stage($("stage"), hooks);
export const player = new Player(hooks);
