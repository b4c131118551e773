/** Pixels -> a .dpc file, at a quality, a rate or a size. */
import { pack, checkSize } from "./container.js";
import { ModelError, OptionError } from "./errors.js";
import { HYPER, Plane, STRIDE, STRIP, cells, positions, spans, type Span } from "./geometry.js";
import { cover } from "./hidden.js";
import { LARGEST } from "./indexed.js";
import { MAX_LOSSLESS_SIDE, writeLossless } from "./lossless.js";
import { writeOpacity } from "./opacity.js";
import { defaultMap } from "./quality_default.js";
import { levelsOf, writeMap, type Levels, type QualityMap } from "./quality_map.js";
import type { Graphs } from "./runtime.js";
import { bodyOf, estimateStrip, stripsOf, tensor, writeStrip, type Latents } from "./stream.js";
import { DEFAULT_QUALITY, checkTarget, type Target } from "./target.js";
import { cutGains, even, gains, perLevel, type Step } from "./transforms.js";

/** A picture that can be encoded: red, green, blue and opacity of each pixel. */
export interface Source {
  rgba: Uint8ClampedArray<ArrayBuffer>;
  width: number;
  height: number;
}

/**
 * The file of a picture; colours under opacity 0 are replaced in it. lossless: true keeps every pixel; undefined does so where this takes no more bytes or fits the
 * target; false never.
 */
export async function encode(
  source: Source,
  graphs: () => Promise<Graphs>,
  target: Target,
  lossless: boolean | undefined,
  step: Step,
): Promise<Uint8Array> {
  checkTarget(target, lossless);
  checkSize(source.width, source.height);
  cover(source.rgba, source.width, source.height);
  const exact = lossless === false || !(lossless || worthTrying(source)) ? null : await losslessFile(source);
  if (lossless && !exact)
    throw new OptionError(
      `lossless: the picture has ${source.width}x${source.height} pixels, and more than ${MAX_LOSSLESS_SIDE} a side can be kept without loss only where it has at most 256 colours and ${LARGEST} pixels; cut it into parts, or give a quality`,
    );
  if (exact && (lossless || exact.length <= sizeOf(target, source))) return exact;
  const learned = await encodeLearned(source, await graphs(), target, step);
  return exact && exact.length <= learned.length ? exact : learned;
}

async function losslessFile(source: Source): Promise<Uint8Array | null> {
  const { rgba, width, height } = source;
  const body = await writeLossless(rgba, width, height);
  if (!body) return null;
  const about = { width, height, grey: isGrey(rgba), colour: "srgb" as const };
  return pack({ ...about, lossless: true, merged: false, model: null, level: null, body });
}

/** The bytes that are asked for; none where a quality is. */
function sizeOf({ bpp, maxBytes }: Target, { width, height }: Source): number {
  return maxBytes ?? (bpp === undefined ? -1 : (bpp * width * height) / 8);
}

const SMALL = 4096; // pixels of a picture that is always tried
const FLAT = 0.5; // share of pixels that equal a neighbour; photographs lie below
const ROWS = 256; // that are looked at

/** Whether a picture may well take fewer bytes without loss: a small one, or one as flat as flags and pages are. */
function worthTrying({ rgba, width, height }: Source): boolean {
  if (width * height <= SMALL) return true;
  const words = new Uint32Array(rgba.buffer, rgba.byteOffset, width * height);
  let [equal, all] = [0, 0];
  if (Math.min(width, height) < 2) {
    for (let at = 1; at < words.length; at++) if (words[at] === words[at - 1]) equal++;
    return equal >= FLAT * (words.length - 1);
  }
  const every = Math.max(1, Math.floor((height - 1) / ROWS));
  for (let row = 1; row < height; row += every)
    for (let at = row * width + 1; at < (row + 1) * width; at++, all++)
      if (words[at] === words[at - 1] || words[at] === words[at - width]) equal++;
  return equal >= FLAT * all;
}

async function encodeLearned(source: Source, graphs: Graphs, target: Target, step: Step): Promise<Uint8Array> {
  if (!graphs.artifact.has("analysis"))
    throw new ModelError(`the model ${graphs.artifact.metadata.name} lacks its half that encodes; load that, too`);
  const encoder = new Encoder(source, graphs, step);
  await encoder.analyse();
  return encoder.reach(target);
}

/** One picture on its way into a file: analysed once, quantised at as many levels as the target takes. */
class Encoder {
  private readonly strips: Plane[] = [];
  private readonly sizes = new Map<number, number>();
  private readonly halo: number;
  private readonly last: number;
  private readonly grey: boolean;
  private alpha: Uint8Array | undefined;
  private readonly map: QualityMap | null;

  constructor(
    private readonly source: Source,
    private readonly graphs: Graphs,
    private readonly step: Step,
  ) {
    this.halo = graphs.artifact.halo;
    this.last = graphs.artifact.fineLevels - 1;
    const { rgba, width, height } = source;
    this.grey = isGrey(rgba);
    this.map = graphs.artifact.metadata.quality_map ? defaultMap(rgba, width, height) : null;
  }

  /** y of the picture, strip by strip, and its opacities. */
  async analyse(): Promise<void> {
    const { rgba, width, height } = this.source;
    if (!isOpaque(rgba)) this.alpha = await writeOpacity(opacities(rgba), width, height);
    const [h, w] = [positions(height), positions(width)];
    const channels = this.graphs.artifact.metadata.network.latents;
    for (const { rows } of stripsOf(h)) this.strips.push(new Plane(channels, rows, w));
    const [rows, columns] = [spans(h, this.halo), spans(w, this.halo)];
    let done = 0;
    for (const row of rows)
      for (const column of columns) {
        const { y } = await this.graphs.run("analysis", { image: piece(this.source, row, column) });
        this.keep(y!.data as Float32Array, row, column);
        await this.step((0.8 * ++done) / (rows.length * columns.length));
      }
  }

  private keep(y: Float32Array, row: Span, column: Span): void {
    const [height, width] = [row.high - row.low, column.high - column.low];
    for (let i = row.start; i < row.stop; i++) {
      const strip = this.strips[Math.floor(i / STRIP)]!;
      for (let c = 0; c < strip.channels; c++) {
        const from = (c * height + i - row.low) * width + column.start - column.low;
        const to = (c * strip.rows + (i % STRIP)) * strip.columns + column.start;
        strip.data.set(y.subarray(from, from + column.stop - column.start), to);
      }
    }
  }

  /** The file at the level that the target asks for. */
  async reach({ quality, bpp, maxBytes }: Target): Promise<Uint8Array> {
    const { width, height } = this.source;
    if (bpp === undefined && maxBytes === undefined) return this.file(this.levelOf(quality ?? DEFAULT_QUALITY));
    const goal = bpp !== undefined ? (bpp * width * height) / 8 : maxBytes!;
    let level = await this.search(goal);
    if (bpp !== undefined) {
      const off = async (l: number) => Math.abs((await this.estimate(l)) - goal);
      if (level < this.last && (await off(level + 1)) < (await off(level))) level++;
      return this.file(level);
    }
    for (; ; level--) {
      const file = await this.file(level);
      if (file.length <= goal) return file;
      if (!level)
        throw new OptionError(
          `maxBytes=${maxBytes}: at quality 1 this ${width}x${height} picture takes ${file.length} bytes; allow at least that, or scale the picture down`,
        );
    }
  }

  private levelOf(quality: number): number {
    return Math.round(((quality - 1) / 99) * this.last);
  }

  /** The highest level whose estimated size is at most the goal, or 0. Sizes grow about exponentially. */
  private async search(goal: number): Promise<number> {
    let [low, high] = [0, this.last];
    if ((await this.estimate(high)) <= goal) return high;
    if ((await this.estimate(low)) >= goal) return low;
    for (let turn = 0; high - low > 1; turn++) {
      const [small, large] = [await this.estimate(low), await this.estimate(high)];
      const share = turn % 3 === 2 || large <= small ? 0.5 : Math.log(goal / small) / Math.log(large / small);
      const middle = Math.min(Math.max(low + Math.round(share * (high - low)), low + 1), high - 1);
      if ((await this.estimate(middle)) <= goal) low = middle;
      else high = middle;
    }
    return low;
  }

  private async estimate(level: number): Promise<number> {
    const known = this.sizes.get(level);
    if (known !== undefined) return known;
    let size = this.pack(level, new Uint8Array(4)).length - 4;
    for (const { strip, levels } of this.each(level))
      size += await estimateStrip(this.graphs, await this.quantise(strip, levels), levels, this.halo);
    this.sizes.set(level, size);
    return size;
  }

  private async file(level: number): Promise<Uint8Array> {
    const streams: Uint8Array[] = [];
    for (const { strip, levels } of this.each(level))
      streams.push(await writeStrip(this.graphs, await this.quantise(strip, levels), levels, this.halo));
    return this.pack(level, bodyOf(streams));
  }

  private pack(level: number, body: Uint8Array): Uint8Array {
    const { width, height } = this.source;
    const { grey, alpha, map } = this;
    const file = {
      width,
      height,
      grey,
      lossless: false,
      merged: false,
      colour: "srgb" as const,
      model: this.graphs.artifact.id,
      level,
      body,
    };
    return pack({ ...file, ...(alpha && { alpha }), ...(map && { qualityMap: writeMap(map) }) });
  }

  private *each(level: number): Generator<{ strip: Plane; levels: Levels }> {
    for (const [i, strip] of this.strips.entries())
      yield { strip, levels: levelsOf(this.map, level, this.last, i * STRIP, strip.rows, strip.columns) };
  }

  /** z and r of a strip at the levels of its positions. */
  private async quantise(strip: Plane, levels: Levels): Promise<Latents> {
    await this.step(0.9);
    const { artifact } = this.graphs;
    const { hyper_latents, latents } = artifact.metadata.network;
    const [h, w] = [strip.rows, strip.columns];
    const y = padded(strip);
    const z = new Plane(hyper_latents, cells(h), cells(w));
    const r = new Plane(latents, y.rows, y.columns);
    const gain = gains(this.graphs, levels, h, w);
    const row = (level: number) => Float32Array.from(artifact.offsets.subarray(level * latents, (level + 1) * latents));
    const offset =
      levels.constant === null ? perLevel(latents, levels, h, w, row) : new Plane(latents, 1, 1, row(levels.constant));
    const valid = new Plane(1, y.rows, y.columns);
    for (let i = 0; i < h; i++) valid.data.fill(1, i * y.columns, i * y.columns + w);
    const pieces = spans(y.columns, this.halo);
    for (const span of pieces) {
      const { z_hat } = await this.graphs.run("hyper", {
        y: tensor(y.cut(span.low, span.high)),
        gain: cutGains(gain, span),
      });
      place(z_hat!.data, z, {
        start: span.start / HYPER,
        stop: span.stop / HYPER,
        low: span.low / HYPER,
        high: span.high / HYPER,
      });
    }
    for (const span of pieces) {
      const outputs = await this.graphs.run("quantise", {
        y: tensor(y.cut(span.low, span.high)),
        z_hat: tensor(z.cut(span.low / HYPER, span.high / HYPER)),
        gain: cutGains(gain, span),
        even: even(y.rows, span.low, span.high),
        offset: cutGains(offset, span),
        valid: tensor(valid.cut(span.low, span.high)),
        rounding: { data: Float32Array.of(0.5), dims: [1, 1, 1, 1] },
      });
      place(outputs["r"]!.data, r, span);
    }
    return { h, w, z, r };
  }
}

/** The core of a piece into the whole. */
function place(from: Float32Array | Uint8Array, to: Plane, span: Span): void {
  const columns = span.high - span.low;
  for (let i = 0; i < to.channels * to.rows; i++)
    for (let j = span.start; j < span.stop; j++) to.data[i * to.columns + j] = from[i * columns + j - span.low]!;
}

/** A strip on whole cells, its last row and column repeated. */
function padded(strip: Plane): Plane {
  const [rows, columns] = [HYPER * cells(strip.rows), HYPER * cells(strip.columns)];
  if (rows === strip.rows && columns === strip.columns) return strip;
  const out = new Plane(strip.channels, rows, columns);
  for (let c = 0, to = 0; c < strip.channels; c++)
    for (let i = 0; i < rows; i++) {
      const from = (c * strip.rows + Math.min(i, strip.rows - 1)) * strip.columns;
      for (let j = 0; j < columns; j++) out.data[to++] = strip.data[from + Math.min(j, strip.columns - 1)]!;
    }
  return out;
}

/** The pixels under a piece of positions, beyond the picture its border repeated: (1, rows, columns, 3). */
function piece({ rgba, width, height }: Source, row: Span, column: Span): { data: Uint8Array; dims: number[] } {
  const dims = [1, (row.high - row.low) * STRIDE, (column.high - column.low) * STRIDE, 3];
  const data = new Uint8Array(dims[1]! * dims[2]! * 3);
  let to = 0;
  for (let i = row.low * STRIDE; i < row.high * STRIDE; i++) {
    const line = Math.min(i, height - 1) * width;
    for (let j = column.low * STRIDE; j < column.high * STRIDE; j++) {
      const from = 4 * (line + Math.min(j, width - 1));
      data[to++] = rgba[from]!;
      data[to++] = rgba[from + 1]!;
      data[to++] = rgba[from + 2]!;
    }
  }
  return { data, dims };
}

function isGrey(rgba: Uint8ClampedArray): boolean {
  for (let i = 0; i < rgba.length; i += 4) if (rgba[i] !== rgba[i + 1] || rgba[i] !== rgba[i + 2]) return false;
  return true;
}

function isOpaque(rgba: Uint8ClampedArray): boolean {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 255) return false;
  return true;
}

function opacities(rgba: Uint8ClampedArray): Uint8Array {
  return Uint8Array.from({ length: rgba.length / 4 }, (_, i) => rgba[4 * i + 3]!);
}
