"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, className) => Object.assign(document.createElement(tag), { className: className ?? "" });
  const everything = [...document.querySelectorAll("#pictures figure")].map((figure) => ({
    name: figure.dataset.name,
    group: figure.dataset.group ?? "",
    caption: figure.querySelector("figcaption"),
    image: figure.querySelector("img"),
    errors: [], // error maps, made when they are looked at
  }));
  const groups = [...new Set(everything.map((picture) => picture.group))];
  let pictures = []; // of one photograph: the original first
  let W = 0, H = 0, entering = 0;
  async function enter(group) {
    const turn = ++entering;
    const chosen = everything.filter((picture) => picture.group === group);
    await Promise.all(chosen.map((picture) => picture.image.decode()));
    if (turn !== entering) return false; // another one was chosen in the meantime
    pictures = chosen;
    W = pictures[0].image.naturalWidth;
    H = pictures[0].image.naturalHeight;
    return true;
  }
  await enter(groups[0]);
  const LEVELS = [1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
  const TURN = 800; // ms; slow enough for people whom flashing harms

  // zoom: screen pixels per picture pixel, null fits the picture; x, y: the picture point in the middle of a
  // frame; split: where the divider is, 0 to 1; other: the flicker view shows B; held: and for now the reverse
  const state = { view: "slider", a: 0, b: Math.min(1, pictures.length - 1), zoom: null, x: W / 2, y: H / 2,
    split: 0.5, other: false, held: false, error: "" };
  let panes = []; // {frame, canvas, shows: () => pictures on it, divider}
  let turns = 0;

  // geometry, all in screen pixels (not CSS pixels), so that 100 % is exact at every device pixel ratio

  const size = () => [panes[0]?.canvas.width || 1, panes[0]?.canvas.height || 1];
  function fitting() {
    const [w, h] = size();
    const fit = Math.min(w / W, h / H);
    return fit >= 1 ? Math.floor(fit) : fit;
  }
  const scale = () => state.zoom ?? fitting();
  function clamp() {
    const [w, h] = size().map((n) => n / scale() / 2);
    state.x = W <= 2 * w ? W / 2 : Math.min(Math.max(state.x, w), W - w);
    state.y = H <= 2 * h ? H / 2 : Math.min(Math.max(state.y, h), H - h);
  }
  const movable = () => W * scale() > size()[0] + 1 || H * scale() > size()[1] + 1;

  function zoomTo(zoom, at = [0.5, 0.5]) {
    const [w, h] = size();
    const dx = (at[0] - 0.5) * w, dy = (at[1] - 0.5) * h;
    const x = state.x + dx / scale(), y = state.y + dy / scale();
    const fit = fitting();
    state.zoom = zoom === null || (zoom <= fit && fit < 1) ? null : Math.min(zoom, LEVELS.at(-1));
    state.x = x - dx / scale();
    state.y = y - dy / scale();
    show();
  }
  function zoomBy(steps, at) {
    const now = scale();
    const next = steps > 0 ? LEVELS.find((z) => z > now * 1.001) : LEVELS.findLast((z) => z < now * 0.999);
    if (next !== undefined) zoomTo(Math.max(next, Math.min(1, fitting())), at);
  }
  function pan(dx, dy) {
    state.x -= dx / scale();
    state.y -= dy / scale();
    show();
  }

  // error maps: the luma error, halved again and again; an octave is what a halving takes away

  const WHITE = 32; // levels that are shown white
  const HALVINGS = 5;
  function pixels(image) {
    const canvas = Object.assign(document.createElement("canvas"), { width: W, height: H });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, W, H);
    return Float32Array.from({ length: W * H }, (_, i) =>
      0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]);
  }
  function halved({ w, h, v }) {
    const [w2, h2] = [(w + 1) >> 1, (h + 1) >> 1];
    const out = new Float32Array(w2 * h2);
    for (let y = 0; y < h2; y++) {
      for (let x = 0; x < w2; x++) {
        const [left, right] = [2 * x, Math.min(2 * x + 1, w - 1)];
        const [top, bottom] = [2 * y * w, Math.min(2 * y + 1, h - 1) * w];
        out[y * w2 + x] = (v[top + left] + v[top + right] + v[bottom + left] + v[bottom + right]) / 4;
      }
    }
    return { w: w2, h: h2, v: out };
  }
  function errorMap(picture, octave) {
    if (picture.errors[octave]) return picture.errors[octave];
    const [before, after] = [pictures[0].image, picture.image].map(pixels);
    const levels = [{ w: W, h: H, v: after.map((value, i) => value - before[i]) }];
    while (levels.length <= HALVINGS) levels.push(halved(levels.at(-1)));
    const at = (n, x, y) => levels[n].v[(y >> n) * levels[n].w + (x >> n)];
    const value = (x, y) => {
      if (octave === 0) return at(0, x, y);
      return octave > HALVINGS ? at(HALVINGS, x, y) : at(octave - 1, x, y) - at(octave, x, y);
    };
    const canvas = Object.assign(document.createElement("canvas"), { width: W, height: H });
    const context = canvas.getContext("2d");
    const map = context.createImageData(W, H);
    for (let y = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        const heat = (3 * 255 * Math.abs(value(x, y))) / WHITE; // black, red, yellow, white
        map.data.set([heat, heat - 255, heat - 510, 255], 4 * (y * W + x)); // clamped to 0 to 255
      }
    }
    context.putImageData(map, 0, 0);
    return (picture.errors[octave] = canvas);
  }
  const shown = (i) =>
    state.error === "" || i === 0 ? pictures[i].image : errorMap(pictures[i], Number(state.error));

  // drawing

  let drawing = 0;
  function show() {
    clamp();
    const z = scale();
    const percent = Number((z * 100).toPrecision(3));
    byId("zoom").value = state.zoom === null ? `Fit, ${percent} %` : `${percent} %`;
    for (const radio of byId("controls").elements.view) radio.checked = radio.value === state.view;
    byId("a").value = state.a;
    byId("b").value = state.b;
    byId("error").value = state.error;
    byId("scale").hidden = state.error === "";
    byId("out").disabled = z <= Math.min(1, fitting());
    byId("in").disabled = z >= LEVELS.at(-1);
    byId("auto").setAttribute("aria-pressed", String(turns !== 0));
    drawing ||= requestAnimationFrame(() => { drawing = 0; panes.forEach(draw); });
  }
  function draw(pane) {
    const { canvas, frame, divider } = pane;
    const { width, height } = canvas;
    const z = scale();
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = z < 1;
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, width, height);
    const left = Math.round(width / 2 - state.x * z), top = Math.round(height / 2 - state.y * z);
    const place = (i) => context.drawImage(shown(i), left, top, Math.round(W * z), Math.round(H * z));
    const now = pane.shows();
    place(now[0]);
    if (divider) {
      const x = Math.round(state.split * width);
      context.save();
      context.beginPath();
      context.rect(x, 0, width - x, height);
      context.clip();
      context.clearRect(0, 0, width, height);
      place(now[1]);
      context.restore();
      divider.style.left = `${(100 * x) / width}%`;
      const percent = Math.round(100 * state.split);
      divider.setAttribute("aria-valuenow", String(percent));
      divider.setAttribute("aria-valuetext",
        `${percent} % ${pictures[now[0]].name}, ${100 - percent} % ${pictures[now[1]].name}`);
    }
    const names = now.map((i) => pictures[i].name + (state.error === "" || i === 0 ? "" : ", error map"));
    canvas.setAttribute("aria-label", names.join(" | "));
    pane.label?.(now[0]);
    frame.classList.toggle("still", !movable());
    frame.style.touchAction = movable() ? "none" : "pan-y";
  }

  // building a view

  const observer = new ResizeObserver((entries) => {
    for (const { target, devicePixelContentBoxSize: box, contentRect } of entries) {
      // the browser knows best how many screen pixels a box got; where it does not say, or only emulates a screen
      // and says CSS pixels, the rounded product is right
      const rounded = [contentRect.width, contentRect.height].map((n) => Math.round(n * devicePixelRatio));
      const exact = box ? [box[0].inlineSize, box[0].blockSize] : rounded;
      [target.width, target.height] = exact.every((n, i) => Math.abs(n - rounded[i]) <= 1) ? exact : rounded;
    }
    show();
    cancelAnimationFrame(drawing); // a canvas is blank once it is resized: draw before the next paint
    drawing = 0;
    panes.forEach(draw);
  });
  function watch(canvas) {
    try {
      observer.observe(canvas, { box: "device-pixel-content-box" });
    } catch {
      observer.observe(canvas);
    }
  }

  function pane(shows, label) {
    const frame = make("div", "frame");
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", `${label}; arrow keys move the picture, plus and minus zoom`);
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    frame.append(canvas);
    const figure = make("figure", "pane");
    figure.append(frame);
    byId("stage").append(figure);
    const made = { frame, canvas, figure, shows };
    panes.push(made);
    gestures(made);
    return made;
  }
  function tag(frame, side, text) {
    const element = make("span", `tag ${side}`);
    element.textContent = text;
    element.setAttribute("aria-hidden", "true");
    frame.append(element);
    return element;
  }
  function caption(i) {
    const element = make("figcaption", "caption");
    element.innerHTML = pictures[i].caption.innerHTML;
    return element;
  }
  function captions(figure) {
    const both = make("div", "captions");
    const made = [state.a, state.b].map((i) => {
      const element = make("div", "caption");
      element.innerHTML = pictures[i].caption.innerHTML;
      return element;
    });
    both.append(...made);
    figure.append(both);
    return made;
  }

  const VIEWS = {
    slider() {
      const made = pane(() => [state.a, state.b], "Slider");
      tag(made.frame, "a", pictures[state.a].name);
      tag(made.frame, "b", pictures[state.b].name);
      const divider = make("div", "divider");
      divider.tabIndex = 0;
      for (const [name, value] of Object.entries({ role: "slider", "aria-label": "Divider", "aria-valuemin": 0,
        "aria-valuemax": 100, "aria-valuenow": 50, "aria-orientation": "horizontal" })) {
        divider.setAttribute(name, value);
      }
      made.divider = divider;
      made.frame.append(divider);
      captions(made.figure);
    },
    flicker() {
      const made = pane(() => [state.other !== state.held ? state.b : state.a], "Flicker");
      const shown = tag(made.frame, "a", "");
      const both = captions(made.figure);
      made.label = (i) => {
        const right = state.other !== state.held;
        shown.textContent = `${right ? "B" : "A"}: ${pictures[i].name}`;
        both.forEach((element, side) => {
          element.classList.toggle("on", right === Boolean(side));
          element.classList.toggle("off", right !== Boolean(side));
        });
      };
    },
    side() {
      for (const i of [state.a, state.b]) pane(() => [i], pictures[i].name).figure.append(caption(i));
    },
    all() {
      pictures.forEach((picture, i) => pane(() => [i], picture.name).figure.append(caption(i)));
    },
  };

  function build() {
    const focused = document.activeElement?.className;
    observer.disconnect();
    panes = [];
    byId("stage").replaceChildren();
    byId("stage").className = state.view;
    byId("stage").style.setProperty("--shape", `${W} / ${H}`);
    if (state.view !== "flicker") takeTurns(false);
    byId("flicker").hidden = state.view !== "flicker";
    document.querySelector(".picks").hidden = state.view === "all";
    VIEWS[state.view]();
    if (focused === "divider" || focused?.startsWith("frame")) {
      (document.querySelector(`#stage .${focused.split(" ")[0]}`) ?? panes[0].frame).focus({ preventScroll: true });
    }
    panes.forEach((made) => watch(made.canvas));
  }

  // what the user does

  const say = (text) => { byId("status").textContent = text; };
  function setView(view) {
    Object.assign(state, { view, other: false, held: false });
    build();
  }
  function pick(side, i) {
    state[side] = (i + pictures.length) % pictures.length;
    say(`${side.toUpperCase()}: ${pictures[state[side]].name}`);
    build();
  }
  async function choose(group) {
    const names = [pictures[state.a].name, pictures[state.b].name];
    if (!(await enter(group))) return;
    const [a, b] = names.map((name, i) => Math.max(pictures.findIndex((p) => p.name === name), 0) || i);
    Object.assign(state, { a: Math.min(a, pictures.length - 1), b: Math.min(b, pictures.length - 1), x: W / 2, y: H / 2 });
    fill();
    say(`${group} is shown`);
    build();
  }
  function error(kind) {
    state.error = kind;
    const { selectedOptions } = Object.assign(byId("error"), { value: kind });
    say(`Error map: ${selectedOptions[0].textContent}`);
    show();
  }
  function nextError() {
    const kinds = [...byId("error").options].map((option) => option.value);
    error(kinds[(kinds.indexOf(state.error) + 1) % kinds.length]);
  }
  function swap() {
    [state.a, state.b] = [state.b, state.a];
    say(`A: ${pictures[state.a].name}, B: ${pictures[state.b].name}`);
    build();
  }
  function change() {
    state.other = !state.other;
    if (!turns) say(`${pictures[state.other ? state.b : state.a].name} is shown`);
    show();
  }
  function hold(on) {
    state.held = on;
    show();
  }
  function takeTurns(on) {
    clearInterval(turns);
    turns = on ? setInterval(change, TURN) : 0;
    show();
  }
  function split(to) {
    state.split = Math.min(Math.max(to, 0), 1);
    show();
  }

  function gestures({ frame }) {
    const points = new Map();
    let dragged = null; // "divider", "picture" or null
    let apart = 0; // the distance of two fingers when the zoom last changed
    const inside = (event) => {
      const box = frame.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    const spread = () => {
      const [p, q] = [...points.values()];
      return [Math.hypot(p.clientX - q.clientX, p.clientY - q.clientY),
        { clientX: (p.clientX + q.clientX) / 2, clientY: (p.clientY + q.clientY) / 2 }];
    };
    frame.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      points.set(event.pointerId, event);
      frame.setPointerCapture(event.pointerId);
      if (points.size === 2) {
        dragged = null;
        apart = spread()[0];
        return;
      }
      const divider = frame.querySelector(".divider");
      dragged = divider && (event.target === divider || !movable()) ? "divider" : "picture";
      if (dragged === "divider" && event.target !== divider && event.pointerType === "mouse") split(inside(event)[0]);
      frame.classList.toggle("moving", dragged === "picture" && movable());
    });
    frame.addEventListener("mousedown", (event) => {
      event.preventDefault(); // the arrow keys go on doing what they do anywhere on the page
      if (!frame.contains(document.activeElement)) document.activeElement.blur();
    });
    frame.addEventListener("pointermove", (event) => {
      const before = points.get(event.pointerId);
      if (!before) return;
      points.set(event.pointerId, event);
      if (points.size === 2) {
        const [distance, middle] = spread();
        const ratio = distance / apart;
        if (ratio > 1.25 || ratio < 0.8) {
          apart = distance;
          zoomBy(ratio > 1 ? 1 : -1, inside(middle));
        }
      } else if (dragged === "divider") {
        split(inside(event)[0]);
      } else if (dragged === "picture") {
        const exact = panes[0].canvas.width / panes[0].frame.clientWidth;
        pan((event.clientX - before.clientX) * exact, (event.clientY - before.clientY) * exact);
      }
    });
    const end = (event) => {
      points.delete(event.pointerId);
      dragged = null;
      frame.classList.remove("moving");
    };
    frame.addEventListener("pointerup", end);
    frame.addEventListener("pointercancel", end);
    frame.addEventListener("dblclick", (event) => {
      if (event.target.className === "divider") split(0.5);
      else zoomTo(state.zoom === null || state.zoom < 1 ? Math.max(1, fitting() + (fitting() >= 1)) : null, inside(event));
    });
    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoomBy(event.deltaY < 0 ? 1 : -1, inside(event));
    }, { passive: false });
  }

  const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const KEYS = {
    "+": () => zoomBy(1), "=": () => zoomBy(1), "-": () => zoomBy(-1), 0: () => zoomTo(null),
    s: () => setView("slider"), f: () => setView("flicker"), b: () => setView("side"), a: () => setView("all"),
    n: () => pick("b", state.b + 1), p: () => pick("b", state.b - 1),
    N: () => pick("a", state.a + 1), P: () => pick("a", state.a - 1), x: swap, e: nextError,
  };
  for (const z of [1, 2, 3, 4, 6, 8]) KEYS[z] = () => zoomTo(z);
  const FLICKER_KEYS = { " ": change, h: () => hold(true), t: () => takeTurns(!turns) };

  function onDivider(event) {
    const step = { ArrowLeft: -0.01, ArrowDown: -0.01, ArrowRight: 0.01, ArrowUp: 0.01, PageDown: -0.1, PageUp: 0.1,
      Home: -1, End: 1 }[event.key];
    if (step === undefined) return false;
    split(state.split + step);
    return true;
  }
  function onPicture(event) {
    const arrow = ARROWS[event.key];
    if (!arrow) return false;
    const step = Math.max(Math.round(size()[0] / 16), Math.ceil(scale()));
    pan(arrow[0] * step, arrow[1] * step);
    return true;
  }
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target;
    const viewing = at.closest?.("#stage") !== null && at !== document.body;
    if (!viewing && (!byId("shortcuts").checked || at.closest?.("select"))) return;
    if (at.closest?.("input[type=radio]") && event.key in ARROWS) return;
    if (at.closest?.(".scroll") && event.key in ARROWS) return;
    if (at.closest?.("button, summary, input:not([type=radio])") && (event.key === " " || event.key === "Enter")) return;
    let taken = false;
    if (at.className === "divider" && !event.shiftKey) taken = onDivider(event);
    else if (event.key in ARROWS && state.view === "slider" && !event.shiftKey && !viewing) {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") taken = onDivider(event);
    } else if (event.key in ARROWS && (viewing || event.shiftKey || movable())) taken = onPicture(event);
    if (!taken) {
      const key = event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key;
      const action = (state.view === "flicker" && FLICKER_KEYS[key]) || KEYS[key];
      if (!action) return;
      if (!event.repeat || key === "+" || key === "=" || key === "-") action();
    }
    event.preventDefault();
  });
  addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "h" && state.held) hold(false); });
  addEventListener("blur", () => hold(false));

  function fill() {
    for (const side of ["a", "b"]) {
      byId(side).replaceChildren(...pictures.map((p, i) => new Option(`${side.toUpperCase()}: ${p.name}`, i)));
    }
  }
  fill();
  byId("groups").hidden = groups.length < 2;
  byId("group").replaceChildren(...groups.map((group) => new Option(group)));
  byId("group").addEventListener("change", () => choose(byId("group").value));
  byId("error").addEventListener("change", () => error(byId("error").value));
  for (const side of ["a", "b"]) {
    byId(side).addEventListener("change", () => pick(side, Number(byId(side).value)));
  }
  for (const radio of byId("controls").elements.view) radio.addEventListener("change", () => setView(radio.value));
  // after a click on a view the arrow keys are for the picture, not for the next view
  document.querySelector(".segments").addEventListener("pointerup", () => {
    setTimeout(() => document.activeElement.blur());
  });
  const clicks = { swap, in: () => zoomBy(1), out: () => zoomBy(-1), fit: () => zoomTo(null), one: () => zoomTo(1),
    switch: change, auto: () => takeTurns(!turns) };
  for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);
  const button = byId("hold");
  button.addEventListener("pointerdown", (event) => { button.setPointerCapture(event.pointerId); hold(true); });
  for (const name of ["pointerup", "pointercancel", "blur"]) button.addEventListener(name, () => hold(false));
  for (const [name, on] of [["keydown", true], ["keyup", false]]) {
    button.addEventListener(name, (event) => { if (event.key === " " || event.key === "Enter") hold(on); });
  }

  byId("viewer").hidden = false;
  byId("pictures").hidden = true;
  build();
})();
