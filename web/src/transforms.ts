/** Latents -> picture and picture -> latents, over pieces: memory depends on the width of a picture, not on its height. */
import { HYPER, Plane, STRIDE, STRIP, cells, positions, spans, type Span } from "./geometry.js";
import type { Levels } from "./quality_map.js";
import { tensor, type Latents } from "./stream.js";
import type { Graphs, Tensor } from "./runtime.js";

/** Called between pieces: tells the share that is done, and throws when the caller has given up. */
export type Step = (share: number) => Promise<void>;

/** Gains of the channels at every position, or of a strip of one level, once. */
export function gains(graphs: Graphs, levels: Levels, h: number, w: number): Plane {
  const { artifact } = graphs;
  const channels = artifact.metadata.network.latents;
  if (levels.constant !== null) return new Plane(channels, 1, 1, artifact.gain(levels.constant));
  return perLevel(channels, levels, h, w, (level) => artifact.gain(level));
}

/** The planes of numbers that each level stands for, on whole cells; beyond h and w the last row and column are repeated. */
export function perLevel(
  channels: number,
  levels: Levels,
  h: number,
  w: number,
  row: (level: number) => Float32Array,
): Plane {
  const out = new Plane(channels, HYPER * cells(h), HYPER * cells(w));
  const known = new Map<number, Float32Array>();
  for (let i = 0; i < out.rows; i++)
    for (let j = 0; j < out.columns; j++) {
      const level = levels.positions[Math.min(i, h - 1) * w + Math.min(j, w - 1)]!;
      let values = known.get(level);
      if (!values) known.set(level, (values = row(level)));
      for (let c = 0; c < channels; c++) out.data[(c * out.rows + i) * out.columns + j] = values[c]!;
    }
  return out;
}

/** 1 where row + column is even, else 0. */
export function even(rows: number, low: number, high: number): Tensor {
  const out = new Plane(1, rows, high - low);
  for (let i = 0, at = 0; i < rows; i++) for (let j = low; j < high; j++) out.data[at++] = (i + j) % 2 ? 0 : 1;
  return tensor(out);
}

/** A plane of gains for the columns of a piece. */
export function cutGains(gain: Plane, span: Span): Tensor {
  return tensor(gain.columns === 1 && gain.rows === 1 ? gain : gain.cut(span.low, span.high));
}

/** y_hat of a strip: (N, h, w). */
export async function means(graphs: Graphs, { h, w, z, r }: Latents, levels: Levels, halo: number): Promise<Plane> {
  const out = new Plane(r.channels, h, w);
  const gain = gains(graphs, levels, h, w);
  for (const span of spans(r.columns, halo)) {
    const outputs = await graphs.run("means", {
      z_hat: tensor(z.cut(span.low / HYPER, span.high / HYPER)),
      r: tensor(r.cut(span.low, span.high)),
      gain: cutGains(gain, span),
      even: even(r.rows, span.low, span.high),
    });
    const found = outputs["y_hat"]!.data;
    const columns = span.high - span.low;
    const width = Math.min(span.stop, w) - span.start;
    for (let c = 0; c < r.channels; c++)
      for (let i = 0; i < h; i++) {
        const from = (c * r.rows + i) * columns + span.start - span.low;
        out.data.set(found.subarray(from, from + width), (c * h + i) * w + span.start);
      }
  }
  return out;
}

/** What the synthesis needs of a strip. */
export interface Drawn {
  y: Plane;
  levels: Levels;
}

/**
 * Draws a picture of `width` x `height` pixels into rgba, from strips that `next` gives one after the other; of these no
 * more are kept than a row of pieces sees. Opacities are left as they are.
 */
export async function synthesise(
  graphs: Graphs,
  next: (strip: number) => Promise<Drawn>,
  rgba: Uint8ClampedArray,
  width: number,
  height: number,
  halo: number,
  step: Step,
): Promise<void> {
  const [h, w] = [positions(height), positions(width)];
  const flat = (await graphs.rank("synthesis", "weights")) === 2;
  const strips = new Map<number, Drawn>();
  let read = 0;
  let done = 0;
  const [rows, columns] = [spans(h, halo), spans(w, halo)];
  for (const row of rows) {
    for (; read * STRIP < row.high; read++) strips.set(read, await next(read));
    for (const old of strips.keys()) if ((old + 1) * STRIP <= row.low) strips.delete(old);
    for (const column of columns) {
      const outputs = await graphs.run("synthesis", {
        y_hat: tensor(window(strips, row, column)),
        weights: weights(graphs, strips, row, column, flat),
      });
      paste(outputs["image"]!.data as Uint8Array, row, column, rgba, width, height);
      await step(++done / (rows.length * columns.length));
    }
  }
}

/** The rows and columns of y_hat that a piece sees. */
function window(strips: Map<number, Drawn>, row: Span, column: Span): Plane {
  const whole = strips.get(row.low / STRIP)?.y;
  if (whole?.rows === row.high - row.low && column.low === 0 && column.high === whole.columns) return whole;
  const channels = strips.get(Math.floor(row.low / STRIP))!.y.channels;
  const out = new Plane(channels, row.high - row.low, column.high - column.low);
  for (let i = row.low, to = 0; i < row.high; i++, to++) {
    const { y } = strips.get(Math.floor(i / STRIP))!;
    for (let c = 0; c < channels; c++) {
      const from = (c * y.rows + (i % STRIP)) * y.columns;
      out.data.set(y.data.subarray(from + column.low, from + column.high), (c * out.rows + to) * out.columns);
    }
  }
  return out;
}

/** The weights of the gain levels at the positions of a piece. */
function weights(graphs: Graphs, strips: Map<number, Drawn>, row: Span, column: Span, flat: boolean): Tensor {
  const { artifact } = graphs;
  const { levels } = artifact.metadata.network;
  const { constant } = strips.get(Math.floor(row.low / STRIP))!.levels;
  if (constant !== null)
    return { data: artifact.interpolation(constant), dims: flat ? [1, levels] : [1, levels, 1, 1] };
  const out = new Plane(levels, row.high - row.low, column.high - column.low);
  for (let i = row.low, at = 0; i < row.high; i++) {
    const strip = strips.get(Math.floor(i / STRIP))!;
    for (let j = column.low; j < column.high; j++, at++) {
      const values = artifact.interpolation(strip.levels.positions[(i % STRIP) * strip.y.columns + j]!);
      for (let c = 0; c < levels; c++) out.data[c * out.rows * out.columns + at] = values[c]!;
    }
  }
  return tensor(out);
}

function paste(
  image: Uint8Array,
  row: Span,
  column: Span,
  rgba: Uint8ClampedArray,
  width: number,
  height: number,
): void {
  const stride = (column.high - column.low) * STRIDE;
  const bottom = Math.min(row.stop * STRIDE, height);
  const right = Math.min(column.stop * STRIDE, width);
  for (let i = row.start * STRIDE; i < bottom; i++) {
    let from = ((i - row.low * STRIDE) * stride + (column.start - column.low) * STRIDE) * 3;
    let to = (i * width + column.start * STRIDE) * 4;
    for (const end = (i * width + right) * 4; to < end; to += 4, from += 3) {
      rgba[to] = image[from]!;
      rgba[to + 1] = image[from + 1]!;
      rgba[to + 2] = image[from + 2]!;
    }
  }
}
