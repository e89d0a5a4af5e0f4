// The pointer on the piano roll: a click goes there, a drag draws a line around notes.

const SLACK = 5; // CSS pixels that a click may move

/**
 * stage: whose roll it is. seek(tick): a click. around({from, to, low, high}): ticks and pitches that were drawn
 * around. A finger scrolls, as everywhere.
 */
export function listenToRoll(stage, { seek, around }) {
  const { roll } = stage;
  let begin = null;

  const place = (event) => {
    const box = roll.getBoundingClientRect();
    return { x: event.clientX - box.left, y: Math.max(0, Math.min(stage.rollHeight, event.clientY - box.top)) };
  };
  const tickAt = (x) => Math.max(0, (stage.scroller.scrollLeft + x) / stage.view.perTick);

  roll.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch" || !stage.view.music) return;
    begin = { ...place(event), left: stage.scroller.scrollLeft };
    roll.setPointerCapture(event.pointerId);
  });
  roll.addEventListener("pointermove", (event) => {
    if (!begin) return;
    const now = place(event);
    const moved = stage.lasso || Math.hypot(now.x - begin.x, now.y - begin.y) > SLACK;
    if (moved) stage.drawLasso([begin.x + begin.left, begin.y, now.x + stage.scroller.scrollLeft, now.y]);
  });
  roll.addEventListener("pointercancel", () => {
    begin = null;
    stage.drawLasso(null);
  });
  roll.addEventListener("pointerup", () => {
    const box = stage.lasso;
    begin = null;
    if (!box) return;
    const { perTick, high } = stage.view;
    const row = stage.rollHeight / (high - stage.view.low + 1);
    const [left, right] = [Math.min(box[0], box[2]), Math.max(box[0], box[2])];
    const [top, bottom] = [Math.min(box[1], box[3]), Math.max(box[1], box[3])];
    stage.drawLasso(null);
    stage.lassoed = true;
    around({
      from: left / perTick,
      to: right / perTick,
      low: high - Math.floor(bottom / row),
      high: high - Math.floor(top / row),
    });
  });
  roll.addEventListener("click", (event) => {
    if (stage.lassoed) return void (stage.lassoed = false);
    const { music } = stage.view;
    if (!music) return;
    const tick = tickAt(place(event).x);
    const bar = music.barAt(tick);
    const [start, beat] = [music.barStart(bar), music.beat(bar)];
    seek(start + Math.floor((tick - start) / beat) * beat);
  });
}
