// A long drawing kept as tiles, so that scrolling copies pictures instead of drawing notes.

const WIDTH = 256; // CSS pixels of one tile
const SPARE = 8; // tiles kept beside those in view
const BUDGET = 2.5; // milliseconds a frame may spend on new tiles; the rest follow in the next frames

export class Tiles {
  /** paint(context, left, width, height) draws a span of the sheet; `left` is where it lies on it, in CSS pixels. */
  constructor(paint) {
    this.paint = paint;
    this.kept = new Map(); // number -> canvas, the longest unused first
  }

  /** Forget every picture: what they show has changed. */
  clear() {
    this.kept.clear();
  }

  /** Copy what is in view to `context`. False when some tiles are still missing and another frame is needed. */
  draw(context, left, width, height, scale) {
    const began = performance.now();
    const first = Math.floor(left / WIDTH);
    const last = Math.floor((left + width) / WIDTH);
    let whole = true;
    for (let number = first; number <= last; number++) {
      let tile = this.kept.get(number);
      if (tile) {
        this.kept.delete(number);
      } else if (number > first && performance.now() - began > BUDGET) {
        whole = false;
        continue;
      } else {
        tile = this.#make(number, height, scale);
      }
      this.kept.set(number, tile);
      // Whole device pixels, or the seams between tiles shimmer.
      const x = Math.round((number * WIDTH - left) * scale) / scale;
      context.drawImage(tile, x, 0, tile.width / scale, tile.height / scale);
    }
    for (const number of this.kept.keys()) {
      if (this.kept.size <= last - first + 1 + SPARE) break;
      this.kept.delete(number);
    }
    return whole;
  }

  #make(number, height, scale) {
    const tile = document.createElement("canvas");
    tile.width = Math.round(WIDTH * scale);
    tile.height = Math.round(height * scale);
    const context = tile.getContext("2d", { alpha: false });
    context.scale(scale, scale);
    this.paint(context, number * WIDTH, WIDTH, height);
    return tile;
  }
}
