// The verbs, and the way from bars and tracks to the words the server reads and back.

/** The verbs this page knows how to ask for; shown when the server has them too. */
export const VERBS = {
  continue: { name: "Continue", tells: "Write what comes next", chips: ["bars"] },
  fill: { name: "Fill", tells: "Write some bars anew", chips: ["bars", "tracks"] },
  accompany: { name: "Accompany", tells: "Add new tracks", chips: ["add"] },
  vary: { name: "Vary", tells: "Change some of the notes", chips: ["bars", "tracks", "strength", "keep"] },
  edit: { name: "Edit", tells: "Say what should change", chips: ["text"] },
  sketch: { name: "Sketch", tells: "Describe a new piece", chips: [] },
};

/** "5-8" as [4, 7]; null for anything else. */
export function parseBars(text) {
  const found = /^\s*(\d{1,5})(?:\s*[-–]\s*(\d{1,5}))?\s*$/.exec(text);
  if (!found) return null;
  const [first, last] = [Number(found[1]) - 1, Number(found[2] ?? found[1]) - 1];
  return first >= 0 && last >= first ? [first, last] : null;
}

/** The tracks a text names, from 0; all for no text, null when a word names none. */
export function parseTracks(text, music) {
  const words = text.split(",").map((word) => word.trim().toLowerCase()).filter(Boolean);
  if (!words.length) return new Set(music.parts.keys());
  const tracks = new Set();
  for (const word of words) {
    const number = Number(word) - 1;
    const named = music.parts.findIndex((part) => part.name.toLowerCase().startsWith(word));
    const track = music.parts[number] ? number : named;
    if (track < 0) return null;
    tracks.add(track);
  }
  return tracks;
}

/** A text for tracks that names them as the server reads it. */
export function tracksText(tracks, music) {
  if (tracks.size === music.parts.length) return "";
  const names = music.parts.map((part) => part.name.toLowerCase());
  const plain = (name) => !name.includes(",") && isNaN(name) && names.filter((n) => n.startsWith(name)).length === 1;
  return [...tracks]
    .map((track) => (plain(names[track]) ? music.parts[track].name : String(track + 1)))
    .join(", ");
}
