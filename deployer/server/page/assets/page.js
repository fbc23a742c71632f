// Keeps a page fresh while events come, counts down, and asks before anything is changed.
import { Idiomorph } from "./idiomorph.js";

const APART = 1000; // ms between two looks
const AGAIN = 5000; // ms before a stream that was refused is asked for again
const main = document.querySelector("main");
const said = document.getElementById("said");
const link = document.getElementById("link");
const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";
const ahead = main.dataset.now ? Date.now() / 1000 - Number(main.dataset.now) : 0; // of the server's clock

// -- looking

let busy = false;
let wanted = false;

async function refresh() {
  wanted = true;
  if (busy || document.hidden) return;
  [busy, wanted] = [true, false];
  setTimeout(() => {
    busy = false;
    if (wanted) refresh();
  }, APART);
  const answer = await fetch(location.href, { signal: AbortSignal.timeout(15000) }).catch(() => null);
  if (answer?.status === 401) return location.reload(); // the session is over: log in again
  if (answer?.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
  state(answer?.ok || answer?.status === 429);
}

function show(fresh) {
  const keep = (node) => !(node.tagName === "DIALOG" && node.open); // somebody is reading it
  document.title = fresh.title;
  Idiomorph.morph(main, fresh.querySelector("main"), {
    callbacks: {
      beforeNodeMorphed: keep,
      beforeNodeRemoved: keep,
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
    },
  });
  if (!main.dataset.events) hush();
}

function state(connected) {
  const text = !connected ? "not connected: this may be old" : main.dataset.events ? "live" : "";
  if (!link || link.textContent === text) return;
  link.textContent = text;
  link.classList.toggle("lost", !connected);
}

let stream = null;

// A tab that nobody sees has no stream: browsers allow few connections to one server.
function listen() {
  if (stream || document.hidden || !main.dataset.events) return;
  stream = new EventSource(main.dataset.events);
  for (const kind of main.dataset.kinds.split(" ")) stream.addEventListener(kind, refresh);
  stream.onopen = () => state(true);
  stream.onerror = ({ target }) => {
    refresh(); // the page says whether there is more to hear, or that there is no server
    if (target.readyState !== EventSource.CLOSED) return; // it comes again by itself
    hush();
    setTimeout(listen, AGAIN);
  };
}

function hush() {
  stream?.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return hush();
  refresh();
  listen();
});
listen();
if (main.dataset.every) setInterval(refresh, 1000 * Number(main.dataset.every));

setInterval(() => {
  for (const time of main.querySelectorAll("time[data-until]")) {
    const left = Math.round(Number(time.dataset.until) - Date.now() / 1000 + ahead);
    const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor((left % 3600) / 60), left % 60];
    if (left <= 0) time.textContent = "now";
    else if (left < 100) time.textContent = `${left} s`;
    else if (hours === 0) time.textContent = `${minutes} min ${String(seconds).padStart(2, "0")} s`;
    else time.textContent = `${hours} h ${String(minutes).padStart(2, "0")} min`;
  }
}, 1000);

// -- acting

const send = (url, body) =>
  fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": csrf },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(30000),
  });

let saying;

function say(text) {
  said.textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => (said.textContent = ""), 20000);
}

document.addEventListener("click", async (event) => {
  const pressed = event.target.closest("button");
  if (!pressed) return;
  if (pressed.dataset.opens) document.getElementById(pressed.dataset.opens).showModal();
  if ("closes" in pressed.dataset) pressed.closest("dialog").close();
  if ("logout" in pressed.dataset) {
    await send("/logout", {});
    location.assign("/login");
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.post) return;
  event.preventDefault();
  const problem = form.querySelector("[role=alert]");
  const button = form.querySelector("[type=submit]");
  problem.textContent = "";
  button.disabled = true;
  try {
    const answer = await send(`${form.dataset.post}?wait=1`, { ...JSON.parse(form.dataset.body), reason: form.reason.value });
    const told = await answer.json();
    if (!answer.ok) {
      problem.textContent = [told.message, told.hint].filter(Boolean).join(" → ");
      return;
    }
    form.reset();
    form.closest("dialog").close();
    refresh();
    await follow(told, answer.headers.get("location"));
  } catch (error) {
    problem.textContent = `The server gave no answer (${error.message}). What was asked may be under way: look before you ask again.`;
  } finally {
    button.disabled = false;
  }
});

// Says how what was asked for has ended; a rollout that it belongs to is seen on the page meanwhile.
async function follow(run, where) {
  say(`${run.action}: under way`);
  while (!run.ended) {
    await new Promise((done) => setTimeout(done, APART));
    const answer = await fetch(where);
    if (!answer.ok) return say(`${run.action}: how it goes on is not known (HTTP ${answer.status})`);
    run = await answer.json();
  }
  say(`${run.action}: ${run.text || run.outcome}${run.exit ? ` (exit ${run.exit})` : ""}${run.hint ? ` → ${run.hint}` : ""}`);
  refresh();
}

// -- logging in

// Who comes by a link from elsewhere is logged in already, perhaps: their browser did not say so on the way here.
if (main.dataset.next) {
  const there = await fetch(`/login?next=${encodeURIComponent(main.dataset.next)}`);
  if (there.redirected) location.replace(main.dataset.next);
}
