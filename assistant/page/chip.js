// A chip: the name of one thing and its value, which can be changed where it stands.

import { html, nothing } from "./vendor/lit-html.js";

/**
 * chip: {name, label, value, tells, empty, size, mode, list, choices, slider, set, refused}. choices: [value] or
 * [[value, text]]; the first stands for nothing said. slider: [least, most, step]. set: looks as if it were said,
 * whatever the value. change(text): what happens while it is changed; late: only once it has been.
 */
export function chipView(chip, change, late = false) {
  const { label, value, tells, slider, choices } = chip;
  const set = chip.set ?? Boolean(value);
  const input = slider ? sliderOf : choices ? choiceOf : textOf;
  return html`
    <label class="chip ${set ? "set" : ""}" title=${tells}>
      <span>${label}</span>${input(chip, change, late)}
    </label>
  `;
}

function textOf({ name, value, empty = "", size = 8, mode, list, tells, refused }, change, late) {
  const heard = (event) => change(event.target.value);
  return html`<input
    name=${name}
    .value=${value}
    placeholder=${empty}
    size=${size}
    maxlength="2000"
    inputmode=${mode ?? "text"}
    list=${list ?? nothing}
    autocomplete="off"
    spellcheck="false"
    aria-invalid=${refused ? "true" : "false"}
    aria-description=${tells ?? nothing}
    @input=${late ? null : heard}
    @change=${late ? heard : null}
  />`;
}

function choiceOf({ name, value, empty, choices, tells, refused }, change) {
  const pairs = choices.map((choice) => (Array.isArray(choice) ? choice : [choice, choice || empty]));
  if (!pairs.some(([own]) => own === value)) pairs.push([value, value]);
  return html`<select
    name=${name}
    aria-invalid=${refused ? "true" : "false"}
    aria-description=${tells ?? nothing}
    @change=${(event) => change(event.target.value)}
  >
    ${pairs.map(([own, text]) => html`<option value=${own} .selected=${own === value}>${text}</option>`)}
  </select>`;
}

function sliderOf({ name, value, slider: [least, most, step], tells }, change) {
  return html`<input
      type="range"
      name=${name}
      min=${least}
      max=${most}
      step=${step}
      .value=${value}
      aria-description=${tells ?? nothing}
      @input=${(event) => change(event.target.value)}
    /><output>${Math.round(100 * value)} %</output>`;
}
