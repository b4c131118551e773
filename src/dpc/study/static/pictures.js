// Pictures: fetched and decoded before they are shown; the next trial's while this one is looked at.

import { request } from "./server.js";

export const fetched = new Map();  // trial token -> promise of {a, b, o}: addresses of decoded pictures

export function load(token) {
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

export function prefetch(trials) {
  for (const t of trials) load(t.token).catch(() => {});
}

export function forget(token) {
  const promise = fetched.get(token);
  fetched.delete(token);
  if (promise) promise.then((found) => Object.values(found).forEach((url) => URL.revokeObjectURL(url)), () => {});
}
