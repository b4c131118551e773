/** Smoothing of docs/format.md: pixels of cells of 32 x 32 become averages of those around them that are near. */
import { AnsDecoder, Table } from "./ans.js";

export const CELL = 32; // pixels
export const NEAR = [0, 6, 12, 24]; // levels within which a pixel counts, by strength
const REACH = 4; // pixels to each side that are looked at
export const FRACTION = 16; // values of a level between the two passes
const OUTSIDE = -32768; // in place of what lies beyond the picture: near to no pixel
const SIDE = CELL + 2 * REACH;

/** Of 256, the frequencies of the strengths, behind the smaller and the larger one of those to the left and above. */
export type Frequencies = readonly (readonly [number, number, number, number, number, number])[];

const FREQUENCIES: Frequencies = [
  [0, 0, 239, 4, 9, 4],
  [0, 1, 186, 28, 29, 13],
  [0, 2, 160, 13, 66, 17],
  [0, 3, 144, 6, 28, 78],
  [1, 1, 130, 66, 48, 12],
  [1, 2, 110, 46, 80, 20],
  [1, 3, 80, 24, 60, 92],
  [2, 2, 70, 11, 160, 15],
  [2, 3, 102, 6, 58, 90],
  [3, 3, 54, 4, 24, 174],
];

/** The strengths of all cells, row by row. Corrupt for a chunk that no writer makes. */
export function readStrengths(
  payload: Uint8Array,
  width: number,
  height: number,
  frequencies: Frequencies = FREQUENCIES,
): Uint8Array {
  const tables = new Map(
    frequencies.map(([low, high, ...row]) => [4 * low + high, new Table(Uint32Array.from(row, (n) => n * 65536))]),
  );
  const [rows, columns] = [Math.ceil(height / CELL), Math.ceil(width / CELL)];
  const strengths = new Uint8Array(rows * columns);
  const decoder = new AnsDecoder(payload);
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, at++) {
      const left = column ? strengths[at - 1]! : 0;
      const above = row ? strengths[at - columns]! : 0;
      strengths[at] = decoder.symbol(tables.get(4 * Math.min(left, above) + Math.max(left, above))!);
      decoder.check();
    }
  decoder.finish();
  return strengths;
}

/** Smooth a picture in place, four bytes a pixel, of which the last is left as it is. */
export function smooth(rgba: Uint8ClampedArray, width: number, height: number, strengths: Uint8Array): void {
  const columns = Math.ceil(width / CELL);
  const rows = Math.ceil(height / CELL);
  let held: (() => void)[] = []; // what was found in the row of cells above
  for (let row = 0; row < rows; row++) {
    const found: (() => void)[] = [];
    for (let column = 0; column < columns; column++) {
      const strength = strengths[row * columns + column]!;
      if (strength) found.push(cell(rgba, width, height, row * CELL, column * CELL, NEAR[strength]! * FRACTION));
    }
    for (const put of held) put(); // not before the cells below have seen what is there
    held = found;
  }
  for (const put of held) put();
}

/** One cell; gives what puts it into the picture. */
function cell(
  rgba: Uint8ClampedArray,
  width: number,
  height: number,
  top: number,
  left: number,
  near: number,
): () => void {
  const seen = new Int16Array(3 * SIDE * SIDE).fill(OUTSIDE);
  for (let y = Math.max(0, top - REACH); y < Math.min(height, top + CELL + REACH); y++)
    for (let x = Math.max(0, left - REACH); x < Math.min(width, left + CELL + REACH); x++) {
      const to = 3 * ((y - top + REACH) * SIDE + x - left + REACH);
      for (let k = 0; k < 3; k++) seen[to + k] = rgba[4 * (y * width + x) + k]! * FRACTION;
    }
  const sums = new Int32Array(4);
  const down = new Int16Array(3 * CELL * SIDE).fill(OUTSIDE);
  for (let y = 0; y < CELL; y++)
    for (let x = 0; x < SIDE; x++) {
      const at = 3 * ((y + REACH) * SIDE + x);
      if (seen[at] === OUTSIDE) continue;
      sum(seen, at, 3 * SIDE, near, sums);
      const count = sums[3]!;
      for (let k = 0; k < 3; k++) down[3 * (y * SIDE + x) + k] = Math.floor((sums[k]! + (count >> 1)) / count);
    }
  const colours = new Uint8Array(3 * CELL * CELL);
  for (let y = 0; y < CELL; y++)
    for (let x = 0; x < CELL; x++) {
      const at = 3 * (y * SIDE + x + REACH);
      if (down[at] === OUTSIDE) continue;
      sum(down, at, 3, near, sums);
      const count = sums[3]!;
      for (let k = 0; k < 3; k++)
        colours[3 * (y * CELL + x) + k] = Math.floor((sums[k]! + (FRACTION / 2) * count) / (FRACTION * count));
    }
  return () => {
    for (let y = 0; y < Math.min(CELL, height - top); y++)
      for (let x = 0; x < Math.min(CELL, width - left); x++)
        for (let k = 0; k < 3; k++) rgba[4 * ((top + y) * width + left + x) + k] = colours[3 * (y * CELL + x) + k]!;
  };
}

/** Sums of the three colours and the count of what is near to one of these values, `step` apart, REACH to both sides. */
function sum(values: Int16Array, at: number, step: number, near: number, sums: Int32Array): void {
  const [r, g, b] = [values[at]!, values[at + 1]!, values[at + 2]!];
  sums.fill(0);
  for (let i = at - REACH * step; i <= at + REACH * step; i += step)
    if (
      Math.abs(values[i]! - r) <= near &&
      Math.abs(values[i + 1]! - g) <= near &&
      Math.abs(values[i + 2]! - b) <= near
    ) {
      sums[0]! += values[i]!;
      sums[1]! += values[i + 1]!;
      sums[2]! += values[i + 2]!;
      sums[3]!++;
    }
}
