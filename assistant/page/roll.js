// What the piano roll and the grid above it look like. Where things are on the screen is the stage's matter.
//
// Everything is drawn from a `view`: {music, region, proposal, focus, perTick, low, high, colours}.

export const ROW = 24; // CSS pixels of one track in the grid
const BLACK = new Set([1, 3, 6, 8, 10]);

/** The colours of the present theme, from the style sheet. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    paper: colour("roll"),
    black: colour("roll-black"),
    line: colour("roll-line"),
    bar: colour("roll-bar"),
    ink: colour("ink"),
    dim: colour("dim"),
    mine: [1, 2, 3, 4].map((number) => colour(`mine-${number}`)),
    fresh: colour("new"),
    freshEdge: colour("new-edge"),
    freshWash: colour("new-wash"),
    head: colour("playhead"),
  };
}

export const trackColour = (colours, track) => colours.mine[track % colours.mine.length];

/** Paints a span of the roll: rows, bar and beat lines, and the piece's notes. */
export function paintRoll(context, view, left, width, height) {
  const { music, colours, perTick, low, high } = view;
  const row = height / (high - low + 1);
  const y = (pitch) => Math.round((high - pitch) * row);
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, width, height);
  for (let pitch = low; pitch <= high; pitch++) {
    if (BLACK.has(pitch % 12)) {
      context.fillStyle = colours.black;
      context.fillRect(0, y(pitch), width, y(pitch - 1) - y(pitch));
    }
    if (pitch % 12 === 0) {
      context.fillStyle = colours.line;
      context.fillRect(0, y(pitch - 1) - 1, width, 1);
    }
  }
  paintBars(context, view, left, width, height, true);

  const from = left / perTick;
  const to = (left + width) / perTick;
  const thick = Math.max(2, Math.floor(row) - (row > 5 ? 1 : 0));
  music.parts.forEach((part, track) => {
    const away = view.focus !== null && view.focus !== track;
    context.fillStyle = trackColour(colours, track);
    const locked = view.locks.get(track);
    part.between(from, to, (i) => {
      const x = part.start[i] * perTick - left;
      const long = Math.max(2, part.duration[i] * perTick - 1);
      if (locked?.has(part.start[i] * 128 + part.pitch[i])) {
        return paintLocked(context, colours, track, [x, y(part.pitch[i]), long, thick]);
      }
      const replaced = view.replaces?.(track, part.start[i]);
      context.globalAlpha = (replaced ? 0.14 : away ? 0.22 : 0.55 + (0.45 * part.velocity[i]) / 127);
      context.fillRect(x, y(part.pitch[i]), long, thick);
    });
  });
  context.globalAlpha = 1;
}

/** A locked note: in a frame of ink with a bar across, so that it needs no colour to be told apart. */
function paintLocked(context, colours, track, [x, y, long, thick]) {
  context.globalAlpha = 1;
  context.fillStyle = colours.ink;
  context.fillRect(x - 1, y - 1, long + 2, thick + 2);
  context.fillStyle = colours.paper;
  if (long > 5 && thick > 4) context.fillRect(x + 1, y + 1, long - 2, thick - 2);
  context.fillStyle = thick > 4 ? trackColour(colours, track) : colours.paper;
  const edge = Math.max(1, Math.floor(thick / 4));
  if (long > 2 * edge + 2) context.fillRect(x + edge + 1, y + edge, long - 2 * edge - 2, Math.max(1, thick - 2 * edge));
  context.fillStyle = colours.ink;
  if (long > 9) context.fillRect(x + 4, y, 2, thick);
  context.fillStyle = trackColour(colours, track);
}

/** The note that the keys are at. */
export function paintCursor(context, { music, cursor, colours, perTick, low, high }, left, height) {
  const part = music.parts[cursor[0]];
  const row = height / (high - low + 1);
  const x = part.start[cursor[1]] * perTick - left;
  const y = Math.round((high - part.pitch[cursor[1]]) * row);
  context.strokeStyle = colours.fresh;
  context.lineWidth = 2;
  context.strokeRect(x - 4, y - 4, part.duration[cursor[1]] * perTick + 7, row + 7);
}

/** The line around notes while it is drawn. box: left, top, right, bottom on the sheet. */
export function paintLasso(context, colours, box, left) {
  const [x, y] = [Math.min(box[0], box[2]) - left, Math.min(box[1], box[3])];
  const [width, height] = [Math.abs(box[2] - box[0]), Math.abs(box[3] - box[1])];
  context.strokeStyle = colours.ink;
  context.lineWidth = 1.5;
  context.setLineDash([5, 4]);
  context.strokeRect(x, y, width, height);
  context.setLineDash([]);
}

/** Paints a span of the grid: a lane for each track, its notes in small, and gaps that make cells of the bars. */
export function paintGrid(context, view, left, width, height) {
  const { music, colours, perTick, top } = view;
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, width, height);
  for (let row = Math.floor(top / ROW); row * ROW - top < height; row++) {
    context.fillStyle = colours.black;
    context.fillRect(0, row * ROW - top + 1, width, ROW - 2);
    const part = music.parts[row];
    if (part) paintLane(context, part, row * ROW - top, perTick, left, width, trackColour(colours, row));
  }
  paintBars(context, view, left, width, height, false);
}

/** The notes of one part, squeezed into a lane of the grid. */
export function paintLane(context, part, top, perTick, left, width, colour) {
  part.lane ??= span(part);
  const [low, high] = part.lane;
  context.fillStyle = colour;
  part.between(left / perTick, (left + width) / perTick, (i) => {
    const y = top + 3 + ((high - part.pitch[i]) * (ROW - 9)) / Math.max(1, high - low);
    context.fillRect(part.start[i] * perTick - left, y, Math.max(1.5, part.duration[i] * perTick - 0.5), 3);
  });
}

function span(part) {
  let [low, high] = [127, 0];
  for (let i = 0; i < part.length; i++) {
    low = Math.min(low, part.pitch[i]);
    high = Math.max(high, part.pitch[i]);
  }
  return high - low < 7 ? [low - 3, high + 3] : [low, high];
}

function paintBars(context, view, left, width, height, beats) {
  const { music, colours, perTick } = view;
  const end = music.barAt((left + width) / perTick);
  for (let bar = Math.max(0, music.barAt(left / perTick)); bar <= end; bar++) {
    const start = music.barStart(bar);
    const long = music.barStart(bar + 1) - start;
    if (long * perTick < 4 && bar % 8) continue;
    if (beats && music.beat(bar) * perTick > 14) {
      context.fillStyle = colours.line;
      for (let tick = music.beat(bar); tick < long; tick += music.beat(bar)) {
        context.fillRect(Math.round((start + tick) * perTick - left), 0, 1, height);
      }
    }
    context.fillStyle = colours.bar;
    context.fillRect(Math.round(start * perTick - left), 0, 1, height);
  }
}

/** The proposal's notes over the roll: another colour, and an edge, so that the colour is not all there is. */
export function paintProposal(context, view, left, width, height) {
  const { proposal, colours, perTick, low, high } = view;
  const row = height / (high - low + 1);
  const thick = Math.max(3, Math.floor(row) - (row > 5 ? 1 : 0));
  for (const part of proposal) {
    if (!part) continue;
    part.between(left / perTick, (left + width) / perTick, (i) => {
      const x = part.start[i] * perTick - left;
      const y = Math.round((high - part.pitch[i]) * row);
      const long = Math.max(3, part.duration[i] * perTick - 1);
      context.fillStyle = colours.fresh;
      context.fillRect(x, y, long, thick);
      context.fillStyle = colours.freshEdge;
      if (long > 6) context.fillRect(x, y, 2, thick);
    });
  }
}

/** A picture of some parts for a card, fitted to the canvas. */
export function paintCard(canvas, parts, from, to, colours) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  let [low, high] = [127, 0];
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) {
      low = Math.min(low, part.pitch[i]);
      high = Math.max(high, part.pitch[i]);
    }
  }
  if (low > high) return;
  low -= 1;
  high += Math.max(1, 12 - (high - low));
  const perTick = width / Math.max(1, to - from);
  const row = height / (high - low + 1);
  context.fillStyle = colours.fresh;
  for (const part of parts) {
    part.between(from, to, (i) => {
      const y = (high - part.pitch[i]) * row;
      const long = Math.max(2, part.duration[i] * perTick - 0.5);
      context.fillRect((part.start[i] - from) * perTick, y, long, Math.max(2, row - 0.5));
    });
  }
}
