/** A .dpc file -> pixels. */
import type { DPCFile } from "./container.js";
import { Corrupt, TooLarge, WrongModel } from "./errors.js";
import { positions } from "./geometry.js";
import { readLossless } from "./lossless.js";
import { readOpacity } from "./opacity.js";
import { levelsOf, readMap } from "./quality_map.js";
import type { Graphs } from "./runtime.js";
import { readStrengths, smooth } from "./smoothing.js";
import { checkLength, readStrip, streamsOf, stripsOf } from "./stream.js";
import { means, synthesise, type Step } from "./transforms.js";
import { WIDE_FREQUENCIES, smoothWidely } from "./wide_smoothing.js";

/** Pixels, the right way up: red, green, blue and opacity of each, not multiplied by the opacity. */
export interface Pixels {
  rgba: Uint8ClampedArray<ArrayBuffer>;
  alpha: boolean;
}

/** TooLarge for a picture of more pixels than the caller wants. */
export function checkPixels(file: DPCFile, most: number): void {
  if (file.width * file.height > most)
    throw new TooLarge(
      `${file.width}x${file.height} pixels are more than maxPixels, ${most}; raise it if the file can be trusted`,
    );
}

/** The pixels of a lossless file, which needs no model. */
export async function decodeLossless(file: DPCFile): Promise<Pixels> {
  return readLossless(file.body, file.width, file.height);
}

/** The pixels of a file with a learned body. FormatError for a damaged one, WrongModel for another model's. */
export async function decodeLearned(file: DPCFile, graphs: Graphs, step: Step): Promise<Pixels> {
  const { artifact } = graphs;
  const { metadata } = artifact;
  const { width, height } = file;
  const level = file.level ?? 0;
  if (file.model !== artifact.id)
    throw new WrongModel(
      `the file was made with model ${file.model}, this one is ${metadata.name} (${artifact.id}); decode with the file's own`,
    );
  const last = artifact.fineLevels - 1;
  if (level > last) throw new Corrupt(`quality level ${level} is above the model's last, ${last}; the file is damaged`);
  if (file.qualityMap && !metadata.quality_map)
    throw new Corrupt(`the file has a quality map, which ${metadata.name} does not allow; the file is damaged`);
  const [h, w] = [positions(height), positions(width)];
  const map = file.qualityMap ? readMap(file.qualityMap, h, w) : null;
  const strips = stripsOf(h);
  const streams = streamsOf(file.body, strips.length);
  const levels = strips.map(({ top, rows }) => levelsOf(map, level, last, top, rows, w));
  streams.forEach((stream, i) => checkLength(artifact, stream, levels[i]!));

  const alpha = file.alpha ? await readOpacity(file.alpha, width, height) : null;
  const rgba = new Uint8ClampedArray(width * height * 4);
  const { halo } = artifact;
  const next = async (i: number) => {
    const latents = await readStrip(graphs, streams[i]!, levels[i]!, strips[i]!.rows, w, halo);
    return { y: await means(graphs, latents, levels[i]!, halo), levels: levels[i]! };
  };
  await synthesise(graphs, next, rgba, width, height, halo, step);
  if (file.wideSmoothing) {
    const strengths = readStrengths(file.wideSmoothing, width, height, WIDE_FREQUENCIES);
    smoothWidely(rgba, width, height, strengths);
  }
  if (file.smoothing) smooth(rgba, width, height, readStrengths(file.smoothing, width, height));
  if (file.overlay) layOver(rgba, (await readLossless(file.overlay, width, height, "overlay")).rgba);
  if (file.grey) toGrey(rgba);
  for (let i = 0; i < width * height; i++) rgba[4 * i + 3] = alpha ? alpha[i]! : 255;
  return { rgba, alpha: alpha !== null };
}

/** Blend an overlay over the pixels below it, by its opacities. */
function layOver(rgba: Uint8ClampedArray, overlay: Uint8ClampedArray): void {
  for (let i = 0; i < rgba.length; i += 4) {
    const share = overlay[i + 3]!;
    if (!share) continue;
    for (let k = i; k < i + 3; k++) rgba[k] = Math.floor((share * overlay[k]! + (255 - share) * rgba[k]! + 127) / 255);
  }
}

/** ITU-R 601 luma in all three colours, as the format has it. */
function toGrey(rgba: Uint8ClampedArray): void {
  for (let i = 0; i < rgba.length; i += 4) {
    const luma = (19595 * rgba[i]! + 38470 * rgba[i + 1]! + 7471 * rgba[i + 2]! + 32768) >> 16;
    rgba[i] = rgba[i + 1] = rgba[i + 2] = luma;
  }
}
