// Talking to the server: every call is repeated until it is answered; all of them may safely be sent twice.

import { $ } from "./page.js";

export const settings = JSON.parse($("settings").textContent);
export const query = new URLSearchParams(location.search);
export const session = { name: location.pathname.startsWith("/s/") ? decodeURIComponent(location.pathname.slice(3)) : "" };

export class Refusal extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

// the server cannot store answers: say so, and go on after some seconds or when the button is pressed
async function unsaved(seconds) {
  $("unsaved").hidden = false;
  await Promise.race([
    wait(1000 * seconds),
    new Promise((done) => $("again").addEventListener("click", done, { once: true })),
  ]);
}

export async function request(path, options = {}, read = "json") {
  const headers = { ...options.headers };
  if (session.name) headers.Authorization = "Bearer " + session.name;
  if (options.body) headers["Content-Type"] = "application/json";
  for (let pause = 500; ; pause = Math.min(2 * pause, 8000)) {
    try {
      const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
      $("offline").hidden = true;
      if (answer.status === 429) {
        await wait(1000 * (Number(answer.headers.get("Retry-After")) || 1));
        continue;
      }
      if (answer.status >= 500) {
        await unsaved(Number(answer.headers.get("Retry-After")) || pause / 1000);
        continue;
      }
      if (!answer.ok) throw new Refusal(answer.status, (await answer.json()).error);
      const found = await answer[read]();
      $("unsaved").hidden = true;
      return found;
    } catch (error) {
      if (error instanceof Refusal) throw error;
    }
    $("offline").hidden = false;
    await wait(pause);
  }
}

export const post = (path, body) => request(path, { method: "POST", body: JSON.stringify(body) });
