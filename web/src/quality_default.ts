/**
 * The quality map that a picture gets by default (src/dpc/codec/quality_map.py): cells with letters,
 * that is with many hard edges on plain ground, get more. It looks at the luma at half the resolution.
 */
import { HYPER, STRIDE, cells, positions } from "./geometry.js";
import type { QualityMap } from "./quality_map.js";

const CELL = STRIDE * HYPER; // pixels
const RAISE = 5;
const [FEW, MANY] = [0.06, 0.14]; // the share of hard edges from which a cell gets more, and at which it gets RAISE
const PLAIN = 4; // levels squared: activity below which a sample lies on plain ground
const STEEP = 12; // levels between neighbours: the least step of a hard edge

/** Samples in rows and columns. */
interface Samples {
  h: number;
  w: number;
  data: Float32Array;
}

/** The map of a picture; null for the same quality everywhere. */
export function defaultMap(rgba: Uint8ClampedArray, width: number, height: number): QualityMap | null {
  if (Math.min(width, height) < CELL) return null;
  const luma = halfLuma(rgba, width, height);
  const hidden = activity(luma);
  const { h, w, data } = luma;
  const edge = new Float32Array(h * w);
  for (let i = 0, at = 0; i < h; i++)
    for (let j = 0; j < w; j++, at++) {
      const across = j < w - 1 ? Math.abs(data[at + 1]! - data[at]!) : 0;
      const down = i < h - 1 ? Math.abs(data[at + w]! - data[at]!) : 0;
      edge[at] = (across > STEEP || down > STEEP) && hidden[at]! < PLAIN ? 1 : 0;
    }
  const [rows, columns] = [cells(positions(height)), cells(positions(width))];
  const shares = cellMeans({ h, w, data: edge }, rows, columns);
  const deltas = Int8Array.from(shares, (x) => halfEven(RAISE * Math.min(Math.max((x - FEW) / (MANY - FEW), 0), 1)));
  return deltas.some((d) => d !== deltas[0]) ? { rows, columns, deltas } : null;
}

function halfEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor & 1) : Math.round(x);
}

/** Means of 2x2 lumas, the last row and column repeated where they are odd. */
function halfLuma(rgba: Uint8ClampedArray, width: number, height: number): Samples {
  const [h, w] = [Math.ceil(height / 2), Math.ceil(width / 2)];
  const out = { h, w, data: new Float32Array(h * w) };
  const luma = (i: number, j: number) => {
    const at = 4 * (Math.min(i, height - 1) * width + Math.min(j, width - 1));
    return 0.299 * rgba[at]! + 0.587 * rgba[at + 1]! + 0.114 * rgba[at + 2]!;
  };
  for (let i = 0, at = 0; i < h; i++)
    for (let j = 0; j < w; j++)
      out.data[at++] =
        (luma(2 * i, 2 * j) + luma(2 * i, 2 * j + 1) + luma(2 * i + 1, 2 * j) + luma(2 * i + 1, 2 * j + 1)) / 4;
  return out;
}

/** The smallest of the four 5x5 variances around a sample, three samples away diagonally. */
function activity(luma: Samples): Float32Array {
  const { h, w } = luma;
  const mean = box(luma);
  const square = box({ h, w, data: luma.data.map((x) => x * x) });
  const variance = square.map((x, i) => Math.max(x - mean[i]! * mean[i]!, 0));
  const out = new Float32Array(h * w);
  for (let i = 0, at = 0; i < h; i++) {
    const [up, down] = [w * Math.max(i - 3, 0), w * Math.min(i + 3, h - 1)];
    for (let j = 0; j < w; j++) {
      const [left, right] = [Math.max(j - 3, 0), Math.min(j + 3, w - 1)];
      out[at++] = Math.min(
        variance[up + left]!,
        variance[up + right]!,
        variance[down + left]!,
        variance[down + right]!,
      );
    }
  }
  return out;
}

/** 5x5 means, the border repeated. */
function box({ h, w, data }: Samples): Float32Array {
  const down = new Float32Array(h * w);
  const out = new Float32Array(h * w);
  for (let i = 0, at = 0; i < h; i++)
    for (let j = 0; j < w; j++, at++)
      for (let k = -2; k <= 2; k++) down[at]! += data[w * Math.min(Math.max(i + k, 0), h - 1) + j]!;
  for (let i = 0, at = 0; i < h; i++)
    for (let j = 0; j < w; j++, at++) {
      for (let k = -2; k <= 2; k++) out[at]! += down[w * i + Math.min(Math.max(j + k, 0), w - 1)]!;
      out[at]! /= 25;
    }
  return out;
}

/** Means over cells; the last ones may be smaller. */
function cellMeans({ h, w, data }: Samples, rows: number, columns: number): Float64Array {
  const out = new Float64Array(rows * columns);
  const counts = new Uint32Array(rows * columns);
  const side = CELL / 2;
  for (let i = 0, at = 0; i < h; i++)
    for (let j = 0; j < w; j++, at++) {
      const cell = Math.floor(i / side) * columns + Math.floor(j / side);
      out[cell]! += data[at]!;
      counts[cell]!++;
    }
  return out.map((sum, cell) => sum / counts[cell]!);
}
