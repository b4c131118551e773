/** The page of `dpc web`: a picture in, DPC beside JPEG, WebP and AVIF of the same size out. */
import { decode, encode, inspect, prepare, type EncodeOptions, type Progress } from "../index.js";
import { others } from "./others.js";
import { Slider } from "./slider.js";

const $ = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const [status, progress, settings, result] = [
  $("status"),
  $<HTMLProgressElement>("progress"),
  $<HTMLFormElement>("settings"),
  $("result"),
];
const [left, right, zoom] = [$<HTMLSelectElement>("left"), $<HTMLSelectElement>("right"), $<HTMLSelectElement>("zoom")];
const [quality, size, download] = [
  $<HTMLInputElement>("quality"),
  $<HTMLInputElement>("size"),
  $<HTMLAnchorElement>("download"),
];
const [encodeButton, cancelButton] = [$<HTMLButtonElement>("encode"), $<HTMLButtonElement>("cancel")];

/** A version of the picture that can be looked at. */
interface Version {
  url: string;
  bytes: number;
  milliseconds: number | null;
}

const versions = new Map<string, Version>();
let source: { name: string; canvas: OffscreenCanvas } | null = null;
let job: AbortController | null = null;

const slider = new Slider(
  $("view"),
  $("stage"),
  [$<HTMLImageElement>("picture-left"), $<HTMLImageElement>("picture-right")],
  $<HTMLInputElement>("slider"),
  (scale) => (zoom.value = String(scale)),
);

function say(line: string, error = false): void {
  status.textContent = line;
  status.classList.toggle("error", error);
}

function onProgress({ stage, share }: Progress): void {
  progress.hidden = false;
  progress.value = share;
  const what = { model: "Fetching the model", decode: "Decoding", encode: "Encoding" }[stage];
  say(`${what}: ${Math.round(100 * share)} %`);
}

/** Do a job that can be cancelled; says how it ended. */
async function doing(work: (signal: AbortSignal) => Promise<string>): Promise<void> {
  job?.abort();
  const mine = (job = new AbortController());
  cancelButton.hidden = false;
  encodeButton.disabled = true;
  try {
    const line = await work(mine.signal);
    if (job === mine) say(line);
  } catch (error) {
    const cancelled = error instanceof DOMException && error.name === "AbortError";
    if (job === mine) say(cancelled ? "Cancelled." : (error as Error).message, !cancelled);
  }
  if (job !== mine) return;
  job = null;
  progress.hidden = cancelButton.hidden = true;
  encodeButton.disabled = false;
}

function add(name: string, blob: Blob, milliseconds: number | null, bytes = blob.size): void {
  const old = versions.get(name);
  if (old) URL.revokeObjectURL(old.url);
  versions.set(name, { url: URL.createObjectURL(blob), bytes, milliseconds });
  refresh();
}

function clear(keep: string[] = []): void {
  for (const [name, { url }] of versions) {
    if (keep.includes(name)) continue;
    URL.revokeObjectURL(url);
    versions.delete(name);
  }
}

/** Show the versions that there are in the lists and the table. */
function refresh(): void {
  for (const [side, list, other] of [
    [0, left, "Original"],
    [1, right, "DPC"],
  ] as const) {
    const before = versions.has(list.value) ? list.value : versions.has(other) ? other : [...versions.keys()][0]!;
    list.replaceChildren(...[...versions.keys()].map((name) => new Option(name, name, false, name === before)));
    const version = versions.get(list.value);
    if (version) slider.show(side, version.url, list.value);
  }
  const pixels = source ? source.canvas.width * source.canvas.height : 0;
  $("rows").replaceChildren(
    ...[...versions].map(([name, { bytes, milliseconds }]) => {
      const row = document.createElement("tr");
      const rate = pixels ? ((8 * bytes) / pixels).toFixed(3) : "";
      const time = milliseconds === null ? "" : `${(milliseconds / 1000).toFixed(2)} s`;
      for (const text of [name, bytes.toLocaleString("en"), rate, time]) row.insertCell().textContent = text;
      return row;
    }),
  );
  result.hidden = !versions.size;
}

function offer(name: string, blob: Blob): void {
  if (download.href) URL.revokeObjectURL(download.href);
  download.href = URL.createObjectURL(blob);
  download.download = name;
  download.textContent = `Download ${name}`;
  download.hidden = false;
}

async function open(file: File): Promise<void> {
  clear();
  download.hidden = true;
  const stem = file.name.replace(/\.[^.]*$/, "") || "picture";
  const head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  if (head[0] === 0x89 && head[1] === 0x44) return doing((signal) => openDPC(file, stem, signal));
  settings.hidden = false;
  await doing(async (signal) => {
    const bitmap = await createImageBitmap(file).catch(() => {
      throw new TypeError(`${file.name} is no picture that this browser can read; convert it to PNG or JPEG`);
    });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
    source = { name: stem, canvas };
    add("Original", file, null);
    return encodeNow(signal);
  });
}

async function openDPC(file: File, stem: string, signal: AbortSignal): Promise<string> {
  settings.hidden = true;
  const info = inspect(await file.arrayBuffer());
  source = { name: stem, canvas: new OffscreenCanvas(info.width, info.height) };
  const { image, times } = await decode(file, { as: "png", signal, onProgress });
  add("DPC", image, times["all"]!, file.size);
  offer(`${stem}.png`, image);
  settings.hidden = false;
  encodeButton.hidden = true;
  return `${info.width} x ${info.height} pixels, ${file.size.toLocaleString("en")} bytes, ${info.bpp.toFixed(3)} bits per pixel.`;
}

/** Encode the picture as the settings say, look at the file again, and bring the other codecs to its size. */
async function encodeNow(signal: AbortSignal): Promise<string> {
  encodeButton.hidden = false;
  const { name, canvas } = source!;
  clear(["Original"]);
  const bySize = new FormData(settings).get("target") === "size";
  const options: EncodeOptions = bySize ? { maxBytes: 1000 * size.valueAsNumber } : { quality: quality.valueAsNumber };
  const begin = performance.now();
  const bytes = await encode(canvas, { ...options, signal, onProgress });
  const milliseconds = performance.now() - begin;
  const file = new Blob([bytes as Uint8Array<ArrayBuffer>], { type: "image/x-dpc" });
  offer(`${name}.dpc`, file);
  const { image } = await decode(file, { as: "png", signal, onProgress });
  add("DPC", image, milliseconds, file.size);
  const missing: string[] = [];
  for await (const other of others(canvas, file.size)) {
    signal.throwIfAborted();
    if (other.blob) add(other.name, other.blob, other.milliseconds);
    else missing.push(`${other.name}: ${other.why}`);
  }
  return [`${file.size.toLocaleString("en")} bytes in ${(milliseconds / 1000).toFixed(1)} s.`, ...missing].join(" ");
}

settings.addEventListener("submit", (event) => {
  event.preventDefault();
  if (source) void doing(encodeNow);
});
settings.addEventListener("change", () => {
  const bySize = new FormData(settings).get("target") === "size";
  $("by-quality").hidden = bySize;
  $("by-size").hidden = !bySize;
});
quality.addEventListener("input", () => ($("quality-value").textContent = quality.value));
cancelButton.addEventListener("click", () => job?.abort());
zoom.addEventListener("change", () => slider.zoom(zoom.value === "fit" ? "fit" : Number(zoom.value)));
for (const list of [left, right]) list.addEventListener("change", refresh);

const drop = $("drop");
$<HTMLInputElement>("file").addEventListener("change", (event) => {
  const file = (event.target as HTMLInputElement).files?.[0];
  if (file) void open(file);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", () => drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const file = event.dataTransfer?.files[0];
  if (file) void open(file);
});
addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  if (file) void open(file);
});

// the page can be used at once: what is dropped waits for the model in the worker's queue
prepare({ encode: true, onProgress: (p) => job ?? onProgress(p) }).then(
  () => {
    if (job) return;
    progress.hidden = true;
    say(`Ready${crossOriginIsolated ? `, with ${Math.min(4, navigator.hardwareConcurrency)} threads` : ""}.`);
  },
  (error: Error) => say(error.message, true),
);
