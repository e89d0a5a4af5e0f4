// The way to Descant's server, which runs on this computer and is the only thing this page ever talks to.

const STOPPED = -1; // in place of HTTP's status
let token = sessionStorage.getItem("token");

/** What the server, or this page, cannot do: one sentence, and a hint how to mend it. */
export class Refused extends Error {
  constructor(message, hint = "", status = 0) {
    super(message);
    Object.assign(this, { hint, status });
  }
}

let enteredOnce;
const entered = new Promise((resolve) => (enteredOnce = resolve)); // nothing is asked before it is known who asks

/** Trade the one-time code of the link for the token. True when this page may speak to the server. */
export async function enter() {
  const code = location.hash.slice(1);
  if (code) {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ code }),
    });
    history.replaceState(null, "", location.pathname);
    if (answer.ok) {
      token = (await answer.json()).token;
      sessionStorage.setItem("token", token);
    }
  }
  enteredOnce();
  return Boolean(token);
}

async function call(method, path, body, type, signal) {
  await entered;
  const headers = { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = type;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, signal });
  } catch {
    if (signal?.aborted) throw new Refused("It was called off", "", STOPPED);
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

/** Send a sound file as it is; the answer is the score of what is hummed in it. */
export async function sendSound(file, name, signal) {
  return (await call("POST", `/audio/hum?${new URLSearchParams({ name })}`, file, "audio/wav", signal)).json();
}

export async function fetchFile(path) {
  return (await call("GET", path)).blob();
}

/**
 * Hear everything that happens. `hear(event)` for each; `lost()` when the connection breaks, and `found()` when
 * it stands (again); tries for ever, a little slower each time. `refused()` ends it: the token counts no more.
 */
export function listen({ hear, lost, found, refused }) {
  let wait = 300;
  const connect = () => {
    const socket = new WebSocket(`ws://${location.host}/events`, ["descant", `bearer.${token}`]);
    let stood = false;
    socket.onopen = () => {
      wait = 300;
      stood = true;
      found();
    };
    socket.onmessage = ({ data }) => hear(JSON.parse(data));
    socket.onclose = async () => {
      // A browser does not tell why a connection was not made.
      if (!stood && (await ask("GET", "/settings").catch(({ status }) => status)) === 401) return refused();
      lost();
      setTimeout(connect, wait);
      wait = Math.min(3000, wait * 1.5);
    };
  };
  connect();
}
