/** Wide smoothing of docs/format.md: blocks of 4 x 4 pixels become averages of near ones on both sides. */
import { CELL, FRACTION, type Frequencies } from "./smoothing.js";

const BLOCK = 4; // pixels; 4 x 4 of them sum to their mean in sixteenths
const NEAR = [0, 6, 6, 12]; // levels within which a block counts, by strength
const REACH = 4; // blocks to each side that are looked at
const SPACINGS = [
  [1, 1],
  [4, 2],
] as const; // of them in each round, in blocks; from which strength on
export const WIDE_FREQUENCIES: Frequencies = [
  [0, 0, 239, 9, 5, 3],
  [0, 1, 164, 57, 28, 7],
  [0, 2, 132, 38, 69, 17],
  [0, 3, 140, 17, 29, 70],
  [1, 1, 48, 161, 38, 9],
  [1, 2, 34, 87, 118, 17],
  [1, 3, 30, 50, 63, 113],
  [2, 2, 14, 42, 181, 19],
  [2, 3, 18, 28, 95, 115],
  [3, 3, 8, 13, 37, 198],
];
const SHIFT = 10; // sixteenths of a level, times 64 by the weights between blocks

/** Smooth a picture in place, four bytes a pixel, of which the last is left as it is. */
export function smoothWidely(rgba: Uint8ClampedArray, width: number, height: number, strengths: Uint8Array): void {
  const [rows, columns] = [Math.ceil(height / BLOCK), Math.ceil(width / BLOCK)];
  const cells = Math.ceil(width / CELL);
  const ofBlocks = Uint8Array.from({ length: rows * columns }, (_, at) => {
    const [y, x] = [Math.floor(at / columns) * BLOCK, (at % columns) * BLOCK];
    return strengths[Math.floor(y / CELL) * cells + Math.floor(x / CELL)]!;
  });
  if (!ofBlocks.some(Boolean)) return;
  const values = blocks(rgba, width, height);
  let change = values;
  for (const [spacing, least] of SPACINGS) {
    const limits = Int32Array.from(ofBlocks, (strength) => (strength >= least ? NEAR[strength]! * FRACTION : 0));
    for (const step of [columns, 1]) change = averaged(change, limits, rows, columns, step, spacing);
  }
  put(
    rgba,
    width,
    height,
    change.map((value, i) => value - values[i]!),
  );
}

/** The sums of blocks, three colours each; beyond the picture its last row and column go on. */
function blocks(rgba: Uint8ClampedArray, width: number, height: number): Int32Array {
  const [rows, columns] = [Math.ceil(height / BLOCK), Math.ceil(width / BLOCK)];
  const sums = new Int32Array(3 * rows * columns);
  for (let y = 0; y < rows * BLOCK; y++)
    for (let x = 0; x < columns * BLOCK; x++) {
      const from = 4 * (Math.min(y, height - 1) * width + Math.min(x, width - 1));
      const to = 3 * (Math.floor(y / BLOCK) * columns + Math.floor(x / BLOCK));
      for (let k = 0; k < 3; k++) sums[to + k]! += rgba[from + k]!;
    }
  return sums;
}

/** Blocks averaged with those on both sides of them, `step` apart in the array: down or across. */
function averaged(
  values: Int32Array,
  limits: Int32Array,
  rows: number,
  columns: number,
  step: number,
  spacing: number,
): Int32Array {
  const found = values.slice();
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      const limit = limits[at]!;
      if (!limit) continue;
      const room = step === 1 ? Math.min(column, columns - 1 - column) : Math.min(row, rows - 1 - row);
      let count = 1;
      for (let distance = spacing; distance <= Math.min(room, REACH * spacing); distance += spacing) {
        const [before, after] = [3 * (at - distance * step), 3 * (at + distance * step)];
        if (!near(values, 3 * at, before, limit) || !near(values, 3 * at, after, limit)) continue;
        for (let k = 0; k < 3; k++) found[3 * at + k]! += values[before + k]! + values[after + k]!;
        count += 2;
      }
      for (let k = 0; k < 3; k++) found[3 * at + k] = Math.floor((found[3 * at + k]! + (count >> 1)) / count);
    }
  return found;
}

function near(values: Int32Array, at: number, other: number, limit: number): boolean {
  for (let k = 0; k < 3; k++) if (Math.abs(values[other + k]! - values[at + k]!) > limit) return false;
  return true;
}

/** Lay the change of blocks, in sixteenths of a level, over the picture. */
function put(rgba: Uint8ClampedArray, width: number, height: number, change: Int32Array): void {
  const [rows, columns] = [Math.ceil(height / BLOCK), Math.ceil(width / BLOCK)];
  const places = Array.from({ length: width }, (_, x) => between(x, columns));
  for (let y = 0; y < height; y++) {
    const [upper, lower, down] = between(y, rows);
    for (let x = 0; x < width; x++) {
      const [left, right, across] = places[x]!;
      const [a, b] = [3 * (upper * columns + left), 3 * (upper * columns + right)];
      const [c, d] = [3 * (lower * columns + left), 3 * (lower * columns + right)];
      for (let k = 0; k < 3; k++) {
        const above = change[a + k]! * (8 - across) + change[b + k]! * across;
        const below = change[c + k]! * (8 - across) + change[d + k]! * across;
        rgba[4 * (y * width + x) + k]! += (above * (8 - down) + below * down + (1 << (SHIFT - 1))) >> SHIFT;
      }
    }
  }
}

/** Of a pixel at this place: the blocks before and after it, and the eighths that the second one counts. */
function between(at: number, count: number): [number, number, number] {
  const place = 2 * at - (BLOCK - 1);
  const before = Math.floor(place / (2 * BLOCK));
  return [Math.max(before, 0), Math.min(before + 1, count - 1), place - before * 2 * BLOCK];
}
