// The study's page. A session is the signed name in the address (/s/NAME); the server knows everything else, so that
// a reload, a second tab or another device goes on where the last answer was stored.
"use strict";

const $ = (id) => document.getElementById(id);
const settings = JSON.parse($("settings").textContent);
const query = new URLSearchParams(location.search);
let session = location.pathname.startsWith("/s/") ? decodeURIComponent(location.pathname.slice(3)) : "";

// ---- talking to the server: every call is repeated until it is answered; all of them may safely be sent twice

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

class Refusal extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

async function request(path, options = {}, read = "json") {
  const headers = { ...options.headers };
  if (session) headers.Authorization = "Bearer " + session;
  if (options.body) headers["Content-Type"] = "application/json";
  for (let pause = 500; ; pause = Math.min(2 * pause, 8000)) {
    try {
      const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
      if (answer.status === 429) {
        await wait(1000 * (Number(answer.headers.get("Retry-After")) || 1));
        continue;
      }
      if (answer.status < 500) {
        if (!answer.ok) throw new Refusal(answer.status, (await answer.json()).error);
        const found = await answer[read]();
        $("offline").hidden = true;
        return found;
      }
    } catch (error) {
      if (error instanceof Refusal) throw error;
    }
    $("offline").hidden = false;
    await wait(pause);
  }
}

const post = (path, body) => request(path, { method: "POST", body: JSON.stringify(body) });

// ---- pages

function show(id) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== id;
  document.body.classList.toggle("viewing-now", id === "trial");
  if (id !== "trial") {
    scrollTo(0, 0);
    const title = $(id).querySelector("h1");
    if (title) title.focus({ preventScroll: true });
  }
}

function leave(text, mine = false) {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("out-reason").textContent = text;
  $("out-mine").hidden = !mine;
  trial = null;
  show("out");
}

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 410 || error.status === 403) leave(error.message);
    else follow(await request("/api/state"));  // out of step with another tab: go on from what is stored
  }
}

function simulated(yes) {
  $("ribbon").hidden = !yes;
  document.body.classList.toggle("simulated", yes);
}

// ---- consent

function nonce() {
  let value = sessionStorage.getItem("nonce");
  if (!value) {
    value = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
    sessionStorage.setItem("nonce", value);
  }
  return value;
}

function platform() {
  if (settings.platform === "prolific") return { worker: query.get("PROLIFIC_PID") || "", ticket: query.get("SESSION_ID") || "" };
  if (settings.platform === "mturk") return { worker: query.get("workerId") || "", ticket: query.get("assignmentId") || "" };
  return { worker: "", ticket: "" };
}

function preview() {
  return settings.platform === "mturk" && query.get("assignmentId") === "ASSIGNMENT_ID_NOT_AVAILABLE";
}

$("consent-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("begin").disabled) return;
  $("begin").disabled = true;
  guarded(async () => {
    const body = { consent: true, nonce: nonce(), ...platform(), simulated: query.get("simulated") || "" };
    const answer = await post("/api/start", body);
    sessionStorage.removeItem("nonce");  // the next consent in this tab is another person's
    session = answer.session;
    history.replaceState(null, "", "/s/" + encodeURIComponent(session) + (settings.platform === "mturk" ? location.search : ""));
    follow(await request("/api/state"));
  });
});

// ---- screening

const ratio = () => window.devicePixelRatio || 1;
const windowSize = () => ({
  width: Math.round(document.documentElement.clientWidth * ratio()),
  height: Math.round(window.innerHeight * ratio()),
});

function zoom() {
  // outer sizes are not zoomed, inner ones are; a touch screen has no browser zoom of this kind
  if (matchMedia("(pointer: coarse)").matches || !window.outerWidth) return 0;
  const value = window.outerWidth / window.innerWidth;
  return Math.abs(value - 1) < 0.06 ? 1 : Math.round(20 * value) / 20;
}

function mark(id, kind, text) {
  if ($(id).textContent === text) return;
  $(id).className = kind;
  $(id).textContent = text;
}

function checkScreen() {
  if ($("screening").hidden) return;
  const size = windowSize();
  const fits = size.width >= settings.width && size.height >= settings.height;
  mark("check-size", fits ? "" : settings.screen === "fit" ? "bad" : "warn", fits
    ? `Size: this window shows ${size.width} × ${size.height} pixels, the largest picture has ${settings.width} × ${settings.height}.`
    : `Size: this window shows ${size.width} × ${size.height} pixels, the largest picture has ${settings.width} × ${settings.height}. ` +
      (settings.screen === "fit" ? "Please enlarge the window, or use a larger screen." : "Turn the screen or enlarge the window if you can; otherwise you will scroll within the picture."));
  const pinch = window.visualViewport ? visualViewport.scale : 1;
  const scale = zoom();
  const zoomed = pinch > 1.01 || (scale && scale !== 1);
  mark("check-zoom", zoomed ? "warn" : "", zoomed
    ? (pinch > 1.01 ? "Zoom: the page is enlarged by a pinch. Please pinch it back." : `Zoom: the browser seems to be at about ${Math.round(100 * scale)} %. Please set it to 100 % (Ctrl or ⌘ and 0).`)
    : "Zoom: 100 %.");
  mark("check-density", "", `Pixel density: ${Math.round(100 * ratio()) / 100}. Pictures are shown pixel by pixel at any density.`);
}
addEventListener("resize", checkScreen);
if (window.visualViewport) visualViewport.addEventListener("resize", checkScreen);

$("screening-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const size = windowSize();
  if (settings.screen === "fit" && (size.width < settings.width || size.height < settings.height)) {
    $("screening-problem").textContent = "The window is too small for the pictures. Please enlarge it, then continue.";
    return;
  }
  guarded(async () => {
    const plates = Array.from(document.querySelectorAll("[name=plate]"), (field) => field.value.trim());
    const touch = matchMedia("(pointer: coarse)").matches;
    follow(await post("/api/screen", { ...size, ratio: ratio(), zoom: zoom(), touch, plates }));
  });
});

// ---- where a session stands

let entered = "";  // the phase whose opening page was passed

function follow(state) {
  simulated(state.simulated);
  if (state.phase === "out") return leave(state.reason, true);
  if (state.phase === "done") return finish(state);
  if (state.phase === "screening") {
    show("screening");
    return checkScreen();
  }
  const opening = state.phase === "training" || !state.training ? "intro" : "ready";
  if (entered !== state.phase) {
    const fresh = state.done === 0 || (state.phase === "trials" && state.done === state.training);
    if (fresh || entered === "") {
      $("go").onclick = $("practise").onclick = () => { entered = state.phase; follow(state); };
      $("ready-title").textContent = fresh ? "Practice is over" : "Welcome back";
      $("ready").querySelector(".lead").textContent = fresh
        ? "From here on your answers count. There is no feedback any more, and no hurry."
        : "Your earlier answers are stored. You go on where you stopped.";
      $("go").textContent = fresh ? "Start" : "Go on";
      prefetch(state.trials);
      return show(fresh ? opening : "ready");
    }
    entered = state.phase;
  }
  return present(state);
}

function finish(state) {
  trial = null;
  $("code").textContent = state.code;
  if (state.link) {
    $("finish-link").href = state.link;
    $("finish").hidden = false;
  }
  let target = null;
  try { target = new URL(query.get("turkSubmitTo") || "https://www.mturk.com"); } catch { target = null; }
  if (settings.platform === "mturk" && query.get("assignmentId") && target && target.protocol === "https:" && /(^|\.)mturk\.com$/.test(target.hostname)) {
    $("turk").action = target.origin + "/mturk/externalSubmit";
    $("turk").elements.assignmentId.value = query.get("assignmentId");
    $("turk").elements.code.value = state.code;
    $("turk").hidden = false;
  }
  show("done");
}

// ---- pictures: fetched and decoded before they are shown; the next trial's while this one is looked at

const fetched = new Map();  // trial token -> promise of {a, b, o}: addresses of decoded pictures

function load(token) {
  if (!fetched.has(token)) {
    fetched.set(token, Promise.all(["a", "b", "o"].map(async (which) => {
      const blob = await request(`/i/${token}/${which}`, {}, "blob");
      const image = new Image();
      image.src = URL.createObjectURL(blob);
      await image.decode();
      return image.src;
    })).then(([a, b, o]) => ({ a, b, o })));
    fetched.get(token).catch(() => fetched.delete(token));
  }
  return fetched.get(token);
}

function prefetch(trials) {
  for (const t of trials) load(t.token).catch(() => {});
}

function forget(token) {
  const promise = fetched.get(token);
  fetched.delete(token);
  if (promise) promise.then((found) => Object.values(found).forEach((url) => URL.revokeObjectURL(url)), () => {});
}

// ---- a trial

let trial = null;   // what is on the screen, null between trials
let visible = "";   // a, b or o
let chosen = "a";   // what is shown when the original is let go
let latched = false;

async function present(state) {
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
function stopClock() { if (!hiddenAt) hiddenAt = performance.now(); }
function startClock() {
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
  guarded(async () => {
    const stored = await post("/api/vote", { trial: mine.token, answer, seconds, looks });
    if ("right" in stored) await feedback(stored.right);
    follow(stored.state);
  });
}
for (const answer of ["a", "b", "none"]) if ($("vote-" + answer)) $("vote-" + answer).addEventListener("click", () => vote(answer));

function feedback(right) {
  $("feedback-title").textContent = right === null ? "There is no right answer here" : right ? "Right" : "Look again next time";
  $("feedback-text").textContent = right === null
    ? "Both versions were coded. In the study it is your impression that counts."
    : right ? "The version that you chose was the original itself; the other one was strongly compressed."
      : "The other version was the original itself, and the one that you chose was strongly compressed. Switch between A and B a few times, and compare with the original, before you answer.";
  $("feedback").showModal();
  return new Promise((done) => $("feedback").addEventListener("close", done, { once: true }));
}
$("next").addEventListener("click", () => $("feedback").close());

// ---- keys

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
  else if (key === "p") pause();
  else return;
  if (trial && trial.ready) event.preventDefault();
});
addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "o") release(); });
addEventListener("blur", release);

// ---- pause, data

function pause() {
  stopClock();
  $("link").value = location.href;
  $("break").showModal();
}
$("pause").addEventListener("click", pause);
$("resume").addEventListener("click", () => $("break").close());
$("break").addEventListener("close", startClock);

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and copy it";
  }
}
$("copy-link").addEventListener("click", () => { $("link").select(); copy($("link").value, $("copy-link")); });
$("copy-code").addEventListener("click", () => copy($("code").textContent, $("copy-code")));

for (const button of document.querySelectorAll(".download")) {
  button.addEventListener("click", () => guarded(async () => {
    const data = await request("/api/me");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)], { type: "application/json" }));
    link.download = "my-answers.json";
    link.click();
  }));
}
for (const button of document.querySelectorAll(".delete")) button.addEventListener("click", () => $("sure").showModal());
$("sure-no").addEventListener("click", () => $("sure").close());
$("sure-yes").addEventListener("click", () => guarded(async () => {
  const answer = await request("/api/me", { method: "DELETE" });
  leave(`Everything that was stored about you has been deleted (${answer.deleted} answers).`);
}));

// ---- begin

if (session) {
  guarded(async () => follow(await request("/api/state")));
} else if (preview()) {
  show("consent");
  $("begin").disabled = $("agree").disabled = true;
  $("consent-problem").textContent = "This is a preview. Please accept the task first.";
} else if (settings.platform !== "none" && !platform().worker && !query.get("simulated")) {
  show("consent");
  $("begin").disabled = $("agree").disabled = true;
  $("consent-problem").textContent = "Please open this study by the link on the platform: your worker number is missing.";
} else {
  simulated(Boolean(query.get("simulated")));
  show("consent");
}
