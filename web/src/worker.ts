/** The worker: one job after the other, each cancellable between pieces. */
import { checkPixels, decodeLearned, decodeLossless, type Pixels } from "./decode.js";
import { COLOURS, inflated, unpack, type DPCFile } from "./container.js";
import { encode } from "./encode.js";
import { ImageError, toPlain } from "./errors.js";
import { configureLossless } from "./lossless.js";
import type { Answer, Decoded, Job, Progress, Setup } from "./messages.js";
import { Models, type Loading } from "./models.js";
import { writePicture } from "./png.js";
import { configureRuntime } from "./runtime.js";

let models: Models;
let queue: Promise<void> = Promise.resolve();
const cancelled = new Set<number>();
const waiting = new Set<number>();

const say = (answer: Answer, transfer: Transferable[] = []) => self.postMessage(answer, { transfer });

self.onmessage = ({ data }: MessageEvent<Setup | Job>) => {
  if (data.op === "setup") return setup(data);
  if (data.op === "cancel") {
    if (waiting.has(data.id)) cancelled.add(data.id);
    return;
  }
  waiting.add(data.id);
  queue = queue.then(() => work(data));
};

function setup({ base, models: index, threads }: Setup): void {
  models = new Models(index);
  configureRuntime({ base, threads });
  configureLossless(async (name) => WebAssembly.compile(await (await fetch(new URL(name, base))).arrayBuffer()));
}

async function work(job: Job): Promise<void> {
  const { id } = job;
  try {
    await pause(id);
    const [result, transfer] = await run(job);
    say({ id, kind: "done", result }, transfer);
  } catch (error) {
    say({ id, kind: "failed", error: toPlain(error) });
  } finally {
    waiting.delete(id);
    cancelled.delete(id);
  }
}

/** Let messages in; throws when the job was cancelled. */
async function pause(id: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
  if (cancelled.has(id)) throw new DOMException("the picture is no longer wanted", "AbortError");
}

async function run(job: Job): Promise<[unknown, Transferable[]]> {
  const tell = (stage: Progress["stage"]) => (share: number) =>
    say({ id: job.id, kind: "progress", progress: { stage, share } });
  const loading: Loading = (loaded, total) => tell("model")(loaded / total);
  const step = (stage: Progress["stage"]) => async (share: number) => {
    tell(stage)(share);
    await pause(job.id);
  };
  if (job.op === "prepare") {
    const graphs = await models.graphs(job.model, job.encode ? ["decode", "encode"] : ["decode"], loading);
    await graphs.prepare();
    return [null, []];
  }
  if (job.op === "decode") return decoded(job, loading, step("decode"));
  if (job.op === "encode") {
    const source = pixelsOf(job.image);
    const graphs = () => models.graphs(job.model, ["decode", "encode"], loading);
    const bytes = await encode(source, graphs, job.target, job.lossless, step("encode"));
    return [bytes, [bytes.buffer as ArrayBuffer]];
  }
  throw new Error(`the worker knows no ${job.op}`);
}

async function decoded(
  job: Extract<Job, { op: "decode" }>,
  loading: Loading,
  step: (share: number) => Promise<void>,
): Promise<[Decoded, Transferable[]]> {
  const begin = performance.now();
  const file = unpack(job.bytes);
  checkPixels(file, job.maxPixels);
  const icc = file.icc && inflated(file.icc);
  const times: Record<string, number> = {};
  let pixels: Pixels;
  if (file.lossless) pixels = await decodeLossless(file);
  else {
    const graphs = await models.graphs(file.model, ["decode"], loading);
    graphs.times.clear();
    pixels = await decodeLearned(file, graphs, step);
    for (const [name, time] of graphs.times) times[name] = time;
  }
  const result: Decoded = { ...described(file), alpha: pixels.alpha, icc, times };
  const transfer = await deliver(result, pixels, job.as);
  times["all"] = performance.now() - begin;
  return [result, transfer];
}

function described({ width, height, grey, colour, exif, xmp }: DPCFile): Omit<Decoded, "alpha" | "times"> {
  return { width, height, grey, colour, exif: exif?.slice(), xmp: xmp?.slice() };
}

/** Put the pixels into the result in the form that was asked for: what is handed over, not copied. */
async function deliver(
  result: Decoded,
  { rgba, alpha }: Pixels,
  as: "data" | "bitmap" | "png",
): Promise<Transferable[]> {
  const { width, height } = result;
  if (as === "png") {
    const png = writePicture(rgba, width, height, {
      alpha,
      icc: result.icc,
      colour: COLOURS.find((c) => c === result.colour),
    });
    result.png = new Blob([png], { type: "image/png" });
    return [];
  }
  if (as === "data") {
    result.rgba = rgba;
    return [rgba.buffer];
  }
  const colorSpace = result.colour === "display-p3" ? "display-p3" : "srgb";
  result.bitmap = await createImageBitmap(new ImageData(rgba, width, height, { colorSpace }), {
    premultiplyAlpha: "none",
  });
  return [result.bitmap];
}

function pixelsOf(image: ImageBitmap | ImageData): {
  rgba: Uint8ClampedArray<ArrayBuffer>;
  width: number;
  height: number;
} {
  const { width, height } = image;
  if (image instanceof ImageData) return { rgba: image.data, width, height };
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new ImageError("this browser cannot read the pixels of a bitmap here; give ImageData");
  context.drawImage(image, 0, 0);
  image.close();
  return { rgba: context.getImageData(0, 0, width, height).data, width, height };
}
