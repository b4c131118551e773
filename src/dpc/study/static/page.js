// What is on the page: one section at a time.

export const $ = (id) => document.getElementById(id);

export function show(id) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== id;
  document.body.classList.toggle("viewing-now", id === "trial");
  if (id !== "trial") {
    scrollTo(0, 0);
    const title = $(id).querySelector("h1");
    if (title) title.focus({ preventScroll: true });
  }
}
