// The study's page. A session is the signed name in the address (/s/NAME); the server knows everything else, so that
// a reload, a second tab or another device goes on where the last answer was stored.

import { $, show } from "./page.js";
import { prefetch } from "./pictures.js";
import { checkScreen, measured, tooSmall } from "./screening.js";
import { post, query, Refusal, request, session, settings } from "./server.js";
import { clear, handlers, present, startClock, stopClock } from "./trial.js";

// ---- pages

function leave(text, mine = false) {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("out-reason").textContent = text;
  $("out-mine").hidden = !mine;
  clear();
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

const RIBBONS = {
  simulated: "Simulated rater: these answers do not come from a person.",
  model: "Model: these answers do not come from a person.",
};

function ribbon(rater) {
  $("ribbon").hidden = !(rater in RIBBONS);
  $("ribbon").textContent = RIBBONS[rater] || "";
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

const rater = () => query.get("rater") || "people";

function preview() {
  return settings.platform === "mturk" && query.get("assignmentId") === "ASSIGNMENT_ID_NOT_AVAILABLE";
}

$("consent-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("begin").disabled) return;
  $("begin").disabled = true;
  guarded(async () => {
    const body = { consent: true, nonce: nonce(), ...platform(), rater: rater(), key: query.get("key") || "" };
    const answer = await post("/api/start", body);
    sessionStorage.removeItem("nonce");  // the next consent in this tab is another person's
    session.name = answer.session;
    history.replaceState(null, "", "/s/" + encodeURIComponent(session.name) + (settings.platform === "mturk" ? location.search : ""));
    follow(await request("/api/state"));
  });
});

$("screening-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (tooSmall()) {
    $("screening-problem").textContent = "The window is too small for the pictures. Please enlarge it, then continue.";
    return;
  }
  guarded(async () => follow(await post("/api/screen", measured())));
});

// ---- where a session stands

let entered = "";  // the phase whose opening page was passed

function follow(state) {
  ribbon(state.rater);
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
  clear();
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

// ---- answers

handlers.pause = pause;
handlers.vote = (vote) => guarded(async () => {
  const stored = await post("/api/vote", vote);
  if ("right" in stored) await feedback(stored.right);
  follow(stored.state);
});

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

if (session.name) {
  guarded(async () => follow(await request("/api/state")));
} else if (preview()) {
  show("consent");
  $("begin").disabled = $("agree").disabled = true;
  $("consent-problem").textContent = "This is a preview. Please accept the task first.";
} else if (settings.platform !== "none" && !platform().worker && rater() === "people") {
  show("consent");
  $("begin").disabled = $("agree").disabled = true;
  $("consent-problem").textContent = "Please open this study by the link on the platform: your worker number is missing.";
} else {
  ribbon(rater());
  show("consent");
}
