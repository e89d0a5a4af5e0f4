// The stage: the grid of bars and tracks, the piano roll under it, and what pointer and keys do there.
//
// Both drawings share one time axis and one scroller. The scroller is the browser's own, so touch, wheel and
// scroll bar work as everywhere; the canvases stick to its left edge and draw the span in view.

import { listenToRoll } from "./lasso.js";
import { barsText, pitchName } from "./music.js";
import { ROW, paintCursor, paintGrid, paintLane, paintLasso, paintProposal, paintRoll, readColours } from "./roll.js";
import { Tiles } from "./tiles.js";

const MOST_ROWS = 8; // of the grid in view; more tracks scroll
const MARGIN_BARS = 2; // of empty sheet after everything
const NARROWEST = 3; // CSS pixels of a bar
const WIDEST = 900;

export class Stage {
  /**
   * element: holds .names, .scroller (.sheet > .view > canvas.grid, canvas.roll) and canvas.keys.
   * on: {region({first, last, tracks}), seek(tick), say(text), lock({from, to, low, high})}; bars and tracks from 0.
   */
  constructor(element, on) {
    const find = (name) => element.querySelector(`.${name}`);
    Object.assign(this, { element, on, names: find("names"), scroller: find("scroller"), sheet: find("sheet") });
    Object.assign(this, { grid: find("grid"), roll: find("roll"), keys: find("keys") });
    this.view = { music: null, region: null, proposal: null, focus: null, ghosts: [], top: 0, locks: new Map() };
    this.lasso = null; // [left, top, right, bottom] on the sheet, while it is drawn
    Object.assign(this.view, { perTick: 0.1, low: 36, high: 84 });
    this.playhead = null;
    this.frames = new Float32Array(4096); // milliseconds of script of the latest frames, for the measurement
    this.frameCount = 0;
    this.gridTiles = new Tiles((...span) => paintGrid(span[0], this.view, ...span.slice(1)));
    this.rollTiles = new Tiles((...span) => paintRoll(span[0], this.view, ...span.slice(1)));
    this.view.colours = readColours();
    this.#listen();
    new ResizeObserver(() => this.resize()).observe(this.scroller);
  }

  /** Show a piece. The view stays where it is for another version of the same piece. */
  show(music, samePiece) {
    const view = this.view;
    Object.assign(view, { music, proposal: null, replaces: null });
    if (!samePiece) {
      view.focus = null;
      this.fit();
      this.scroller.scrollLeft = 0;
    }
    this.resize();
  }

  /** region: {first, last, tracks: Set} or null; ghosts: names of tracks that are to be added. */
  mark(region, ghosts = []) {
    const changed = ghosts.length !== this.view.ghosts.length;
    Object.assign(this.view, { region, ghosts });
    if (changed) this.resize();
    else this.#extent();
    this.redraw();
  }

  /** Draw the notes of a candidate over the piece. parts: one Part or nothing for each track; null for none. */
  propose(parts, region) {
    const { view } = this;
    const had = Boolean(view.replaces);
    view.proposal = parts;
    view.replaces = null;
    if (parts && region) {
      const [from, to] = [view.music.barStart(region.first), view.music.barStart(region.last + 1)];
      view.replaces = (track, tick) => tick >= from && tick < to && region.tracks.has(track);
    }
    const before = `${view.low} ${view.high}`;
    this.#pitches();
    if (had !== Boolean(view.replaces) || before !== `${view.low} ${view.high}`) this.rollTiles.clear();
    if (before !== `${view.low} ${view.high}`) this.#drawKeys();
    this.redraw();
  }

  /** Show one track clearly and the others faintly; null for all. */
  focus(track) {
    this.view.focus = track;
    this.rollTiles.clear();
    this.redraw();
  }

  /** locks: track -> Set of start * 128 + pitch. cursor: [track, note] that the keys are at, or null. */
  lock(locks, cursor) {
    Object.assign(this.view, { locks, cursor });
    this.rollTiles.clear();
    this.redraw();
  }

  /** The line that is being drawn around notes: [left, top, right, bottom] on the sheet, or null. */
  drawLasso(box) {
    this.lasso = box;
    this.redraw();
  }

  theme() {
    this.view.colours = readColours();
    this.gridTiles.clear();
    this.rollTiles.clear();
    this.#drawKeys();
    this.redraw();
  }

  // --- Zoom and place ---------------------------------------------------------------------------------

  /** The whole piece in view where that is readable, else bars of a readable width. */
  fit() {
    const { music } = this.view;
    const bars = music.bars.length + MARGIN_BARS;
    const each = Math.max(44, Math.min(160, (this.scroller.clientWidth || 800) / bars));
    this.view.perTick = each / (music.end / music.bars.length);
  }

  /** Zoom by a factor, around a place in view (CSS pixels from its left). */
  zoom(factor, around = this.scroller.clientWidth / 2) {
    const { view, scroller } = this;
    if (!view.music) return;
    const bar = view.music.end / view.music.bars.length;
    const perTick = Math.max(NARROWEST / bar, Math.min(WIDEST / bar, view.perTick * factor));
    const tick = (scroller.scrollLeft + around) / view.perTick;
    view.perTick = perTick;
    this.#extent();
    scroller.scrollLeft = tick * perTick - around;
    this.gridTiles.clear();
    this.rollTiles.clear();
    this.redraw();
  }

  /** Scroll until a span of bars can be seen. */
  reveal(first, last) {
    const { view, scroller } = this;
    const from = view.music.barStart(first) * view.perTick;
    const to = view.music.barStart(last + 1) * view.perTick;
    const [left, width] = [scroller.scrollLeft, scroller.clientWidth];
    if (from < left || to > left + width) {
      scroller.scrollLeft = to - from > width ? from - width * 0.15 : Math.max(0, (from + to - width) / 2);
    }
  }

  /** Keep the playhead in view while it moves. */
  follow(tick) {
    this.playhead = tick;
    if (tick !== null) {
      const x = tick * this.view.perTick - this.scroller.scrollLeft;
      const width = this.scroller.clientWidth;
      if (x > width * 0.9 || x < 0) this.scroller.scrollLeft += x - width * 0.12;
    }
    this.redraw();
  }

  resize() {
    const { view, scroller } = this;
    if (!view.music) return;
    const rows = view.music.parts.length + view.ghosts.length;
    this.gridHeight = Math.min(rows, MOST_ROWS) * ROW;
    this.element.style.setProperty("--grid-height", `${this.gridHeight}px`);
    this.width = scroller.clientWidth;
    this.rollHeight = Math.max(60, scroller.clientHeight - this.gridHeight - 22);
    this.#fitCanvas(this.grid, this.width, this.gridHeight + 22);
    this.#fitCanvas(this.roll, this.width, this.rollHeight);
    this.#pitches();
    this.gridTiles.clear();
    this.rollTiles.clear();
    this.#extent();
    this.#drawKeys();
    this.redraw();
  }

  #fitCanvas(canvas, width, height) {
    this.scale = Math.min(2, window.devicePixelRatio || 1);
    canvas.width = Math.round(width * this.scale);
    canvas.height = Math.round(height * this.scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }

  #extent() {
    const { music, region, perTick } = this.view;
    if (!music) return;
    const last = Math.max(music.bars.length, region ? region.last + 1 : 0) + MARGIN_BARS;
    const width = Math.max(this.scroller.clientWidth, music.barStart(last) * perTick);
    this.sheet.style.width = `${Math.ceil(width)}px`;
  }

  #pitches() {
    const { view } = this;
    const [low, high] = view.music.pitches((view.proposal ?? []).filter(Boolean));
    const more = Math.max(2, Math.ceil((24 - (high - low)) / 2));
    view.low = Math.max(0, low - more);
    view.high = Math.min(127, high + more);
  }

  // --- Drawing ----------------------------------------------------------------------------------------

  /** Draw in the next frame; asked for twice, it is drawn once. */
  redraw() {
    if (this.waiting || !this.view.music) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      const began = performance.now();
      const whole = this.#draw();
      this.frames[this.frameCount++ % this.frames.length] = performance.now() - began;
      if (!whole) this.redraw();
    });
  }

  #draw() {
    const { view, scale } = this;
    const left = this.scroller.scrollLeft;
    const grid = this.grid.getContext("2d", { alpha: false });
    const roll = this.roll.getContext("2d", { alpha: false });
    grid.setTransform(scale, 0, 0, scale, 0, 0);
    roll.setTransform(scale, 0, 0, scale, 0, 0);
    this.#ruler(grid, left);
    grid.save();
    grid.beginPath();
    grid.rect(0, 22, this.width, this.gridHeight);
    grid.clip();
    grid.translate(0, 22 - view.top);
    grid.save();
    grid.translate(0, view.top);
    let whole = this.gridTiles.draw(grid, left, this.width, this.gridHeight, scale);
    grid.restore();
    view.proposal?.forEach((part, track) => {
      if (part) paintLane(grid, part, track * ROW, view.perTick, left, this.width, view.colours.fresh);
    });
    this.#regionCells(grid, left);
    grid.restore();
    whole = this.rollTiles.draw(roll, left, this.width, this.rollHeight, scale) && whole;
    this.#regionBand(roll, left);
    if (view.proposal) paintProposal(roll, view, left, this.width, this.rollHeight);
    if (view.cursor) paintCursor(roll, view, left, this.rollHeight);
    if (this.lasso) paintLasso(roll, view.colours, this.lasso, left);
    if (this.playhead !== null) {
      const x = Math.round(this.playhead * view.perTick - left);
      for (const [context, height] of [[grid, this.gridHeight + 22], [roll, this.rollHeight]]) {
        context.fillStyle = view.colours.head;
        context.fillRect(x - 1, 0, 2, height);
      }
    }
    return whole;
  }

  #ruler(context, left) {
    const { music, colours, perTick } = this.view;
    context.fillStyle = colours.paper;
    context.fillRect(0, 0, this.width, 22);
    context.fillStyle = colours.dim;
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const bar = (music.end / music.bars.length) * perTick;
    const step = [1, 2, 4, 8, 16, 32, 64, 128].find((count) => count * bar >= 34) ?? 256;
    const end = music.barAt((left + this.width) / perTick);
    for (let number = Math.max(0, music.barAt(left / perTick)); number <= end; number++) {
      const x = Math.round(music.barStart(number) * perTick - left);
      if (number % step === 0) context.fillText(String(number + 1), x + 4, 11);
    }
  }

  #regionCells(context, left) {
    const { region, music, colours, perTick, ghosts } = this.view;
    if (!region) return;
    const x = music.barStart(region.first) * perTick - left;
    const width = music.barStart(region.last + 1) * perTick - left - x;
    const rows = new Set([...region.tracks, ...ghosts.map((_, index) => music.parts.length + index)]);
    for (const track of rows) {
      context.fillStyle = colours.freshWash;
      context.fillRect(x, track * ROW + 1, width, ROW - 2);
      context.fillStyle = colours.fresh;
      if (!rows.has(track - 1)) context.fillRect(x, track * ROW, width, 2);
      if (!rows.has(track + 1)) context.fillRect(x, (track + 1) * ROW - 2, width, 2);
      context.fillRect(x, track * ROW, 2, ROW);
      context.fillRect(x + width - 2, track * ROW, 2, ROW);
    }
  }

  #regionBand(context, left) {
    const { region, music, colours, perTick } = this.view;
    if (!region?.tracks.size || !music.count) return; // where all is new, the whole roll would be washed
    const x = music.barStart(region.first) * perTick - left;
    const width = music.barStart(region.last + 1) * perTick - left - x;
    context.fillStyle = colours.freshWash;
    context.fillRect(x, 0, width, this.rollHeight);
  }

  #drawKeys() {
    const { view, keys } = this;
    const width = keys.clientWidth;
    if (!view.music || !width) return;
    this.#fitCanvas(keys, width, this.rollHeight);
    keys.style.width = "";
    const context = keys.getContext("2d");
    context.scale(this.scale, this.scale);
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    const row = this.rollHeight / (view.high - view.low + 1);
    const step = row * 12 > 20 ? 12 : 24;
    for (let pitch = view.low; pitch <= view.high; pitch++) {
      if (pitch % step) continue;
      const y = (view.high - pitch + 0.5) * row;
      context.fillStyle = view.colours.dim;
      context.fillText(pitchName(pitch), width - 8, Math.max(8, Math.min(this.rollHeight - 8, y)));
    }
  }

  // --- Pointer and keys -------------------------------------------------------------------------------

  #cell(event) {
    const { music, perTick } = this.view;
    const box = this.grid.getBoundingClientRect();
    const bar = Math.max(0, music.barAt((this.scroller.scrollLeft + event.clientX - box.left) / perTick));
    const row = Math.floor((event.clientY - box.top - 22 + this.names.scrollTop) / ROW);
    return { bar, track: Math.max(0, Math.min(music.parts.length - 1, row)) };
  }

  /** Make the cells between two corners the region. */
  select(from, to) {
    this.anchor = from;
    this.cursor = to;
    const [first, last] = [Math.min(from.bar, to.bar), Math.max(from.bar, to.bar)];
    const tracks = new Set();
    for (let at = Math.min(from.track, to.track); at <= Math.max(from.track, to.track); at++) tracks.add(at);
    this.on.region({ first, last, tracks });
    const named = [...tracks].map((track) => this.view.music.parts[track].name);
    this.on.say(`${barsText(first, last)}, ${named.length > 3 ? `${named.length} tracks` : named.join(", ")}`);
  }

  #listen() {
    const { scroller, grid, names } = this;
    scroller.addEventListener("scroll", () => this.redraw(), { passive: true });
    names.addEventListener("scroll", () => {
      this.view.top = names.scrollTop;
      this.gridTiles.clear();
      this.redraw();
    }, { passive: true });
    scroller.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || event.metaKey) {
          event.preventDefault();
          this.zoom(Math.exp(-event.deltaY / 300), event.clientX - scroller.getBoundingClientRect().left);
        } else if (event.target === grid && names.scrollHeight > names.clientHeight && !event.shiftKey && event.deltaY) {
          event.preventDefault();
          names.scrollTop += event.deltaY;
        }
      },
      { passive: false },
    );
    grid.addEventListener("pointerdown", (event) => {
      if (event.button || !this.view.music) return;
      const from = this.#cell(event);
      if (event.pointerType === "touch") return; // a finger that moves scrolls; a tap comes as a click
      event.preventDefault();
      scroller.focus({ preventScroll: true });
      grid.setPointerCapture(event.pointerId);
      this.select(event.shiftKey && this.anchor ? this.anchor : from, from);
      this.dragging = true;
    });
    grid.addEventListener("pointermove", (event) => {
      if (!this.dragging) return;
      const to = this.#cell(event);
      if (to.bar !== this.cursor.bar || to.track !== this.cursor.track) this.select(this.anchor, to);
    });
    for (const end of ["pointerup", "pointercancel"]) grid.addEventListener(end, () => (this.dragging = false));
    grid.addEventListener("click", (event) => {
      if (event.pointerType === "touch" && this.view.music) this.select(this.#cell(event), this.#cell(event));
    });
    listenToRoll(this, { seek: (tick) => this.on.seek(tick), around: (box) => this.on.lock(box) });
    scroller.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const { music, region } = this.view;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!music || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") return this.zoom(1.25);
    if (event.key === "-") return this.zoom(0.8);
    const ends = { Home: 0, End: music.bars.length - 1 };
    if (!(event.key in steps) && !(event.key in ends)) return;
    event.preventDefault();
    const beginning = { bar: region ? region.first : 0, track: region?.tracks.size ? Math.min(...region.tracks) : 0 };
    const at = this.cursor ?? beginning;
    const [bars, tracks] = steps[event.key] ?? [ends[event.key] - at.bar, 0];
    const to = {
      bar: Math.max(0, at.bar + bars),
      track: Math.max(0, Math.min(music.parts.length - 1, at.track + tracks)),
    };
    this.select(event.shiftKey && this.anchor ? this.anchor : to, to);
    this.reveal(to.bar, to.bar);
  }
}
