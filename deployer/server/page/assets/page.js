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
  localise(fresh.body);
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

// -- times

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const two = (number) => String(number).padStart(2, "0");

function offset(at) {
  const minutes = -at.getTimezoneOffset();
  if (!minutes) return "UTC";
  return `UTC${minutes < 0 ? "-" : "+"}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
}

function ago(at) {
  const seconds = Math.max(0, Date.now() / 1000 - ahead - at / 1000);
  for (const [unit, name] of [[86400, "d"], [3600, "h"], [60, "min"]])
    if (seconds >= unit) return `${Math.floor(seconds / unit)} ${name} ago`;
  return seconds >= 1 ? `${Math.floor(seconds)} s ago` : "just now";
}

// Writes times in the zone of the viewer; without a script they are in that of the server, as the end of the page says.
function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    time.textContent = { date: `${date} ${clock}`, clock, ago: ago(at) }[time.dataset.shows];
    time.title = `${date} ${clock} ${ZONE} (${offset(at)})`;
  }
}

localise(document.body);
const zone = document.getElementById("zone");
if (zone) {
  const mine = offset(new Date());
  const within = zone.dataset.here === mine ? "" : `; within sentences, ${zone.dataset.here}`;
  zone.textContent = `Times are ${ZONE === mine ? ZONE : `${ZONE} (${mine})`}${within}.`;
}

setInterval(() => {
  for (const time of main.querySelectorAll("time[data-shows=ago]")) time.textContent = ago(new Date(time.dateTime));
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

const send = (url, body, key) =>
  fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": csrf, ...(key && { "idempotency-key": key }) },
    body,
    signal: AbortSignal.timeout(30000),
  });

const random = () => crypto.getRandomValues(new Uint8Array(16)).reduce((key, byte) => key + byte.toString(16), "page-");
const unanswered = new WeakMap(); // forms whose last request had no response: what was sent, and its key

// The same order again, after its response was lost, has the same key: it is carried out once.
async function order(form, url, body) {
  const before = unanswered.get(form);
  const key = before?.body === body ? before.key : random();
  unanswered.set(form, { body, key });
  const answer = await send(url, body, key);
  unanswered.delete(form);
  return answer;
}

const why = (told) => [told.message ?? told.text, told.hint].filter(Boolean).join(" → ");

let saying;

function say(text) {
  said.textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => (said.textContent = ""), 20000);
}

document.addEventListener("click", async (event) => {
  const pressed = event.target.closest("button");
  if (!pressed) return;
  if (pressed.dataset.opens) open(document.getElementById(pressed.dataset.opens));
  if ("closes" in pressed.dataset) pressed.closest("dialog").close();
  if ("logout" in pressed.dataset) {
    await send("/logout", "{}");
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
    const given = fields(form);
    const told = !form.dataset.plan ? await act(form, given) : form.dataset.planned ? await deploy(form, given) : await plan(form, given);
    if (told) problem.textContent = told;
  } catch (error) {
    problem.textContent = `No response from the server (${error.message}). The request may be in progress: check before you repeat it.`;
  } finally {
    button.disabled = false;
    if (form.dataset.planned && !problem.textContent) button.focus();
  }
});

// A field `versions.shop` is that of one service; where it is empty nothing is said about that service.
function fields(form) {
  const given = {};
  for (const [name, text] of new FormData(form)) {
    const [group, key] = name.split(".");
    if (key === undefined) given[name] = text;
    else {
      given[group] ??= {};
      if (text) given[group][key] = text;
    }
  }
  return given;
}

// Each of these gives the reason when it was refused.

async function act(form, given) {
  const answer = await order(form, `${form.dataset.post}?wait=1`, JSON.stringify({ ...JSON.parse(form.dataset.body), ...given }));
  const told = await answer.json();
  if (!answer.ok) return why(told);
  form.reset();
  form.closest("dialog").close();
  refresh();
  await follow(told, answer.headers.get("location"));
}

async function plan(form, { reason, ...choice }) {
  const shown = form.querySelector(".plan");
  shown.textContent = "Reading the manifest and the image…";
  const answer = await order(form, `${form.dataset.plan}?wait=5`, JSON.stringify(choice));
  const told = await answer.json();
  const run = answer.ok ? await until(told, answer.headers.get("location"), (run) => run.ended) : told;
  shown.replaceChildren();
  if (!answer.ok || run.exit) return why(run);
  const plans = Object.entries(run.plan.services ?? { "": run.plan });
  if (plans.every(([, one]) => one.same)) return run.text;
  shown.replaceChildren(...plans.flatMap(([service, one]) => (service ? [folded(service, one)] : sentences(one))));
  form.dataset.planned = JSON.stringify(choice);
  form.querySelector("[type=submit]").textContent = "Deploy";
}

async function deploy(form, given) {
  const answer = await order(form, `${form.dataset.post}?wait=5`, JSON.stringify({ ...JSON.parse(form.dataset.body), ...given }));
  const told = await answer.json();
  if (!answer.ok) return why(told);
  const run = await until(told, answer.headers.get("location"), (run) => run.rollout || run.ended);
  if (!run.rollout) return why(run);
  if (!run.set_name) return location.assign(`/rollouts/${run.rollout}`);
  form.reset();
  forget(form);
  form.closest("dialog").close();
  refresh();
}

// What was planned is no more what would be done.
function forget(form) {
  delete form.dataset.planned;
  form.querySelector(".plan").replaceChildren();
  form.querySelector("[type=submit]").textContent = "Show the plan";
}

document.addEventListener("input", ({ target }) => {
  const { form } = target;
  if (form?.dataset.planned && target.name !== "reason") forget(form);
});

function made(name, ...content) {
  const element = document.createElement(name);
  element.append(...content);
  return element;
}

// What is between backticks is a command.
const words = (text) => text.split("`").map((piece, n) => (n % 2 ? made("code", piece) : piece));
const list = (name, lines) => made(name, ...lines.map((line) => made("li", ...words(line))));

function sentences({ strategy, changes, forward, back, notes }) {
  const parts = [made("h3", `What will happen (${strategy})`), list("ol", forward)];
  if (changes.length) parts.unshift(made("h3", "What changes"), list("ul", changes));
  if (notes.length) parts.push(list("ul", notes));
  const rollback = made("details", made("summary", "If it fails"), list("ol", back));
  return back.length ? [...parts, rollback] : parts;
}

function folded(service, plan) {
  if (plan.same) return made("p", `${service}: its release is live already`);
  const part = made("details", made("summary", service), ...sentences(plan));
  part.open = true;
  return part;
}

function open(dialog) {
  if (!(dialog instanceof HTMLDialogElement) || dialog.open) return;
  dialog.showModal();
  dialog.querySelector("input, textarea")?.focus();
}

// A link may lead to a dialog: one that was opened so is not opened again by a reload.
function asked() {
  if (!location.hash.startsWith("#ask-")) return;
  open(document.getElementById(location.hash.slice(1)));
  history.replaceState(null, "", location.pathname);
}

addEventListener("hashchange", asked);
asked();

async function until(run, where, enough) {
  while (!enough(run)) {
    await new Promise((done) => setTimeout(done, APART));
    const answer = await fetch(where);
    if (!answer.ok) return { ...run, ended: true, exit: 1, text: `its progress is unknown (HTTP ${answer.status})` };
    run = await answer.json();
  }
  return run;
}

// Says how what was asked for has ended; a rollout that it belongs to is seen on the page meanwhile.
async function follow(run, where) {
  say(`${run.action}: in progress`);
  run = await until(run, where, (run) => run.ended);
  say(`${run.action}: ${run.text || run.outcome}${run.exit ? ` (exit ${run.exit})` : ""}${run.hint ? ` → ${run.hint}` : ""}`);
  refresh();
}

// -- logging in

// Who comes by a link from elsewhere is logged in already, perhaps: their browser did not say so on the way here.
if (main.dataset.next) {
  const there = await fetch(`/login?next=${encodeURIComponent(main.dataset.next)}`);
  if (there.redirected) location.replace(main.dataset.next);
}
