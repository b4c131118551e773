// A trial: two pictures at one place, the original at hand, an answer.

import { $, show } from "./page.js";
import { forget, load, prefetch } from "./pictures.js";
import { ratio } from "./screening.js";

export const handlers = { vote: async () => {}, pause: () => {} };  // what the page does with an answer, and with P

let trial = null;   // what is on the screen, null between trials
let visible = "";   // a, b or o
let chosen = "a";   // what is shown when the original is let go
let latched = false;

export async function present(state) {
  const next = state.trials[0];
  show("trial");
  if (trial && trial.token === next.token) return;
  if (trial) forget(trial.token);
  const training = next.training;
  const number = training ? next.number + 1 : next.number - state.training + 1;
  const total = training ? state.training : state.total - state.training;
  $("count").textContent = `${training ? "Practice" : "Question"} ${number} of ${total}`;
  const percent = Math.round(100 * (number - 1) / total);
  $("progress").firstElementChild.style.width = percent + "%";
  $("progress").setAttribute("aria-valuenow", percent);
  $("waiting").hidden = false;
  trial = { ...next, ready: false, sent: false, seen: { a: 0, b: 0, o: 0 }, away: 0, began: 0 };
  enable();
  const mine = trial;
  const urls = await load(next.token);
  if (trial !== mine) return;
  for (const which of ["a", "b", "o"]) {
    const image = $("picture-" + which);
    image.src = urls[which];
    await image.decode();
  }
  if (trial !== mine) return;
  latched = false;
  visible = "";
  lay();
  $("frame").scrollTo(0, 0);
  prefetch(state.trials.slice(1));
  // two frames later the pictures have been painted: the clock starts
  requestAnimationFrame(() => requestAnimationFrame(() => {
    if (trial !== mine) return;
    $("waiting").hidden = true;
    look("a");
    trial.ready = true;
    trial.began = performance.now();
    $("frame").focus({ preventScroll: true });
    enable();
  }));
}

// one picture pixel on one screen pixel: sizes divided by the device pixel ratio, corners on whole screen pixels
function lay() {
  if (!trial) return;
  const density = ratio();
  for (const id of ["pictures", "pictures-o"]) {
    const box = $(id);
    if (!box) continue;
    for (const image of box.children) {
      image.style.width = trial.width / density + "px";
      image.style.height = trial.height / density + "px";
    }
    box.style.width = trial.width / density + "px";
    box.style.height = trial.height / density + "px";
    box.style.left = box.style.top = "0";
    const { left: x, top: y } = box.getBoundingClientRect();
    box.style.left = (Math.round(x * density) / density - x) + "px";
    box.style.top = (Math.round(y * density) / density - y) + "px";
  }
}
addEventListener("resize", lay);

export function clear() { trial = null; }

export const current = () => trial;

function fits() {
  const frame = $("frame");
  return frame.scrollWidth <= frame.clientWidth + 1 && frame.scrollHeight <= frame.clientHeight + 1;
}

const names = { a: "A", b: "B", o: "Original" };

function look(which) {
  if (!trial || visible === which) return;
  visible = which;
  if (which !== "o") chosen = which;
  trial.seen[which] += 1;
  for (const other of ["a", "b", "o"]) {
    const image = $("picture-" + other);
    image.classList.toggle("on", other === which || image.parentElement.id === "pictures-o");
    image.setAttribute("aria-hidden", String(other !== which && image.parentElement.id !== "pictures-o"));
    const button = $("show-" + other);
    if (button) button.setAttribute("aria-pressed", String(other === which));
  }
  $("shown").textContent = names[which];
  enable();
}

function enable() {
  const seen = Boolean(trial && trial.ready && !trial.sent && trial.seen.a && trial.seen.b);
  for (const id of ["vote-a", "vote-b", "vote-none"]) if ($(id)) $(id).disabled = !seen;
  for (const id of ["show-a", "show-b", "show-o"]) if ($(id)) $(id).disabled = !(trial && trial.ready && !trial.sent);
  const text = !trial || !trial.ready ? "" : trial.sent ? "Storing …" : seen ? (fits() ? "" : "Scroll to see the rest of the picture.") : "Look at B too, then answer.";
  if ($("hint").textContent !== text) $("hint").textContent = text;
  lay();  // a text may have moved the pictures by part of a pixel
}

const flip = () => look(chosen === "a" ? "b" : "a");

function hold() { if (trial && trial.ready && $("show-o")) look("o"); }
function release() { if (trial && trial.ready && visible === "o" && !latched) look(chosen); }

$("show-a").addEventListener("click", () => { latched = false; look("a"); });
$("show-b").addEventListener("click", () => { latched = false; look("b"); });
if ($("show-o")) {
  const button = $("show-o");
  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || button.disabled) return;
    button.setPointerCapture(event.pointerId);
    latched = false;
    hold();
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(kind, release);
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  // by keyboard or a switch the button stays down until it is pressed again
  button.addEventListener("click", (event) => {
    if (event.detail !== 0) return;
    latched = !latched;
    if (latched) hold(); else release();
  });
}
$("frame").addEventListener("click", () => { if (trial && trial.ready) { latched = false; flip(); } });
$("frame").addEventListener("contextmenu", (event) => event.preventDefault());

let hiddenAt = 0;
document.addEventListener("visibilitychange", () => (document.hidden ? stopClock() : startClock()));
export function stopClock() { if (!hiddenAt) hiddenAt = performance.now(); }
export function startClock() {
  if (hiddenAt && trial && trial.ready) trial.away += performance.now() - Math.max(hiddenAt, trial.began);
  hiddenAt = 0;
}

function vote(answer) {
  const button = $("vote-" + answer);
  if (!button || button.disabled || !trial || trial.sent) return;
  const seconds = Math.max(0, performance.now() - trial.began - trial.away) / 1000;
  trial.sent = true;
  enable();
  const mine = trial;
  const looks = { a: trial.seen.a, b: trial.seen.b, original: trial.seen.o, away: trial.away / 1000, ratio: ratio(), fits: fits() };
  handlers.vote({ trial: mine.token, answer, seconds, looks });
}
for (const answer of ["a", "b", "none"]) if ($("vote-" + answer)) $("vote-" + answer).addEventListener("click", () => vote(answer));

addEventListener("keydown", (event) => {
  if (!trial || $("trial").hidden || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  const onButton = event.target.closest && event.target.closest("button, a, input, summary");
  const key = event.key.toLowerCase();
  if (key === " " && !onButton) flip();
  else if (key === "arrowleft") { latched = false; look("a"); }
  else if (key === "arrowright") { latched = false; look("b"); }
  else if (key === "o") { if (!event.repeat) hold(); }
  else if (event.repeat) return;
  else if (key === "1") vote("a");
  else if (key === "2") vote("b");
  else if (key === "0" || key === "3") vote("none");
  else if (key === "p") handlers.pause();
  else return;
  if (trial && trial.ready) event.preventDefault();
});
addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "o") release(); });
addEventListener("blur", release);
