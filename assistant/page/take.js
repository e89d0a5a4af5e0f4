// Taking it away: files that the server writes, and the browser fetches.

import { ask, fetchFile } from "./server.js";

/** See to it that a candidate's file is written before it can be dragged. */
export async function prepare(state, number) {
  const { proposal, onlyNew } = state;
  const candidate = proposal?.candidates[number - 1];
  if (!candidate?.info || candidate.file) return candidate?.file;
  candidate.preparing ??= (async () => {
    const path = `/proposals/${proposal.id}/candidates/${number}/file`;
    const made = await ask("POST", path, { only_new: onlyNew });
    const name = decodeURIComponent(made.url.slice(made.url.lastIndexOf("/") + 1));
    if (state.onlyNew === onlyNew) candidate.file = { ...made, name };
  })().finally(() => (candidate.preparing = null));
  await candidate.preparing;
  return candidate.file;
}

/** Hand a candidate's file to the browser. Answers with the file, or nothing when there is none yet. */
export async function download(state, number) {
  const file = await prepare(state, number);
  if (file) save(file.url, file.name);
  return file;
}

function save(url, name) {
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
}

export async function downloadPiece({ score }) {
  const url = URL.createObjectURL(await fetchFile(`/scores/${score.id}/midi`));
  save(url, `${score.name}.mid`);
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
