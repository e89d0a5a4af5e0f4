// Two candidates by ear alone: nobody sees which is which. The one that is preferred meets the next, to the last.

import { player } from "./desk.js";
import { playCandidate } from "./listening.js";
import { hideCandidate } from "./choosing.js";
import { paint, say } from "./shell.js";
import { state } from "./state.js";
import { html, nothing } from "./vendor/lit-html.js";

/** Finished candidates that were not rejected. */
export const comparable = (proposal) =>
  proposal?.state === "done" ? proposal.candidates.filter(({ info }) => info && info.verdict !== "reject") : [];

export function beginBlind() {
  const numbers = shuffled(comparable(state.proposal).map(({ number }) => number));
  if (numbers.length < 2) return;
  hideCandidate();
  player.stop();
  state.blind = { pair: numbers.slice(0, 2), waiting: numbers.slice(2), beaten: [], heard: null, winner: null };
  say("Blind comparison. 1 plays A, 2 plays B, Enter prefers the one you heard last");
  paint();
}

export function endBlind() {
  if (!state.blind) return;
  player.stop();
  state.blind = null;
  paint();
}

/** Hear A (0) or B (1). */
export function hearBlind(side) {
  const { blind, proposal } = state;
  if (!blind || blind.winner) return;
  const again = state.playing && blind.heard === side;
  player.stop();
  if (again) return;
  blind.heard = side;
  playCandidate(proposal, proposal.candidates[blind.pair[side] - 1]);
  paint();
}

/** Prefer A (0) or B (1). */
export function preferBlind(side = state.blind?.heard) {
  const { blind } = state;
  if (!blind || blind.winner || side === null || side === undefined) return;
  player.stop();
  const winner = blind.pair[side];
  blind.beaten.unshift(blind.pair[1 - side]);
  blind.heard = null;
  const next = blind.waiting.shift();
  if (next) blind.pair = shuffled([winner, next]);
  else blind.winner = winner;
  say(next ? "The next pair" : `You preferred candidate ${winner}`);
  paint();
}

function shuffled(items) {
  const left = [...items];
  const result = [];
  while (left.length) result.push(...left.splice(Math.floor(Math.random() * left.length), 1));
  return result;
}

/** on: {hearBlind(side), preferBlind(side), endBlind(), audition(number), accept(number)}. */
export function blindView({ blind, playing }, on) {
  if (blind.winner) {
    return html`<div class="blind">
      <p>
        You liked <strong>candidate ${blind.winner}</strong> best, before
        ${blind.beaten.join(", ")}.
      </p>
      <div class="deeds">
        <button class="main" @click=${() => on.accept(blind.winner)}>Accept it</button>
        <button class="small" @click=${() => { on.endBlind(); on.audition(blind.winner); }}>Show it</button>
        <button class="small" @click=${on.endBlind}>Back to all</button>
      </div>
    </div>`;
  }
  const left = blind.waiting.length;
  return html`<div class="blind" role="group" aria-label="Blind comparison">
    <p>Which do you like better? <kbd>1</kbd> and <kbd>2</kbd> play them.${left ? html` <span class="quiet">${left} more after this.</span>` : nothing}</p>
    <div class="pair">
      ${[0, 1].map((side) => {
        const name = "AB"[side];
        const sounds = playing && blind.heard === side;
        return html`<div class="side ${blind.heard === side ? "heard" : ""}">
          <button class="pad" aria-label="${sounds ? "Stop" : "Hear"} ${name}" @click=${() => on.hearBlind(side)}>
            <span class="number" aria-hidden="true">${name}</span>
            <span class="sign" aria-hidden="true">${sounds ? "■" : "▶"}</span>
          </button>
          <button class="small" @click=${() => on.preferBlind(side)}>
            ${name} is better${blind.heard === side ? html` <kbd>↵</kbd>` : nothing}
          </button>
        </div>`;
      })}
    </div>
    <button class="link" @click=${on.endBlind}>Stop comparing</button>
  </div>`;
}
