// The way to Descant's server, which runs on this computer and is the only thing this page ever talks to.

let token = sessionStorage.getItem("token");

/** What the server, or this page, cannot do: one sentence, and a hint how to mend it. */
export class Refused extends Error {
  constructor(message, hint = "", status = 0) {
    super(message);
    Object.assign(this, { hint, status });
  }
}

/** Trade the one-time code of the link for the token. True when this page may speak to the server. */
export async function enter() {
  const code = location.hash.slice(1);
  if (code) {
    history.replaceState(null, "", location.pathname);
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ code }),
    });
    if (answer.ok) {
      token = (await answer.json()).token;
      sessionStorage.setItem("token", token);
    }
  }
  return Boolean(token);
}

async function call(method, path, body, type, signal) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = type;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, signal });
  } catch {
    throw new Refused("Descant does not answer", "Start it again with `descant serve`; this page waits for it.");
  }
  if (answer.ok) return answer;
  const { error = {} } = await answer.json().catch(() => ({}));
  throw new Refused(error.message ?? `The server answers ${answer.status}`, error.hint, answer.status);
}

/** Ask the server. body: what becomes JSON. */
export async function ask(method, path, body) {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return (await call(method, path, text, "application/json")).json();
}

/** Ask, and get the answer as it is made. signal: what calls it off. */
export const stream = (path, body, signal) => call("POST", path, JSON.stringify(body), "application/json", signal);

/** Send a file as it is. */
export async function send(path, file, type) {
  return (await call("POST", path, file, type)).json();
}

/** Send a MIDI file as it is. */
export async function upload(file, name, session) {
  const query = new URLSearchParams(session ? { name, session } : { name });
  return send(`/scores?${query}`, file, "audio/midi");
}

export async function fetchFile(path) {
  return (await call("GET", path)).blob();
}

/**
 * Hear everything that happens. `hear(event)` for each; `lost()` when the connection breaks, and `found()` when
 * it stands (again). Tries for ever, a little slower each time.
 */
export function listen({ hear, lost, found }) {
  let wait = 300;
  const connect = () => {
    const socket = new WebSocket(`ws://${location.host}/events`, ["descant", `bearer.${token}`]);
    socket.onopen = () => {
      wait = 300;
      found();
    };
    socket.onmessage = ({ data }) => hear(JSON.parse(data));
    socket.onclose = () => {
      lost();
      setTimeout(connect, wait);
      wait = Math.min(3000, wait * 1.5);
    };
  };
  connect();
}
