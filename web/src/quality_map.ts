/** The quality map of docs/format.md: a delta for each cell of 64 x 64 pixels, and the levels that follow from it. */
import { AnsDecoder, AnsEncoder, Table } from "./ans.js";
import { Corrupt } from "./errors.js";
import { HYPER, cells } from "./geometry.js";

const LARGEST = 8; // of a delta
const UNIT = 16; // fine levels in a delta of 1

const TABLE = new Table(
  Uint32Array.from({ length: 4 * LARGEST + 1 }, (_, s) => {
    const d = Math.abs(s - 2 * LARGEST);
    return d ? 2 ** (21 - d) : 2 ** 24 - 2 ** 22 + 2 ** 6;
  }),
);

/** Deltas of all cells, row by row. */
export interface QualityMap {
  rows: number;
  columns: number;
  deltas: Int8Array;
}

function predicted({ columns, deltas }: QualityMap, row: number, column: number): number {
  const at = row * columns + column;
  if (!row) return column ? deltas[at - 1]! : 0;
  const up = deltas[at - columns]!;
  if (!column) return up;
  const left = deltas[at - 1]!;
  const corner = deltas[at - columns - 1]!;
  if (corner >= Math.max(left, up)) return Math.min(left, up);
  if (corner <= Math.min(left, up)) return Math.max(left, up);
  return left + up - corner;
}

/** The map in its chunk, for a picture of so many positions. */
export function readMap(payload: Uint8Array, h: number, w: number): QualityMap {
  const map = { rows: cells(h), columns: cells(w), deltas: new Int8Array(cells(h) * cells(w)) };
  if (payload.length < (map.deltas.length * TABLE.least) / 8 - 16)
    throw new Corrupt(
      `the quality map has ${payload.length} bytes, too few for ${map.deltas.length} cells; the file is damaged`,
    );
  const decoder = new AnsDecoder(payload);
  for (let row = 0, at = 0; row < map.rows; row++)
    for (let column = 0; column < map.columns; column++, at++) {
      const delta = predicted(map, row, column) + decoder.symbol(TABLE) - 2 * LARGEST;
      decoder.check();
      if (Math.abs(delta) > LARGEST)
        throw new Corrupt(
          `a delta of the quality map is ${delta}, it must lie in -${LARGEST} ... ${LARGEST}; the file is damaged`,
        );
      map.deltas[at] = delta;
    }
  decoder.finish();
  return map;
}

/** The chunk of a map. */
export function writeMap(map: QualityMap): Uint8Array {
  const encoder = new AnsEncoder();
  for (let at = map.deltas.length - 1; at >= 0; at--) {
    const guess = predicted(map, Math.floor(at / map.columns), at % map.columns);
    encoder.symbol(TABLE, map.deltas[at]! - guess + 2 * LARGEST);
  }
  return encoder.finish();
}

/** Fine levels of a strip: of each position, and of each cell. `constant` where all are the same. */
export interface Levels {
  constant: number | null;
  positions: Uint16Array;
  cells: Uint16Array;
}

/** The levels of rows top ... top + h of a picture that is w positions wide; every level is limited to 0 ... last. */
export function levelsOf(
  map: QualityMap | null,
  base: number,
  last: number,
  top: number,
  h: number,
  w: number,
): Levels {
  const limited = (level: number) => Math.min(Math.max(level, 0), last);
  const zh = cells(h);
  const zw = cells(w);
  if (!map) {
    const level = limited(base);
    return {
      constant: level,
      positions: new Uint16Array(h * w).fill(level),
      cells: new Uint16Array(zh * zw).fill(level),
    };
  }
  const out = { constant: null, positions: new Uint16Array(h * w), cells: new Uint16Array(zh * zw) };
  const firstCell = top / HYPER;
  for (let i = 0; i < zh * zw; i++) out.cells[i] = limited(base + UNIT * map.deltas[firstCell * map.columns + i]!);
  for (let i = 0; i < h; i++)
    for (let j = 0; j < w; j++) {
      let sum = 0;
      for (const [row, a] of around(top + i, map.rows))
        for (const [column, b] of around(j, map.columns)) sum += a * b * map.deltas[row * map.columns + column]!;
      out.positions[i * w + j] = limited(base + Math.floor((sum + 2) / 4));
    }
  return out;
}

/** The two cells around a position along one side, with their weights in eighths. */
function around(position: number, count: number): [number, number][] {
  const cell = Math.floor(position / HYPER);
  const phase = position % HYPER;
  const [before, after] = [
    [3, 5],
    [1, 7],
    [7, 1],
    [5, 3],
  ][phase] as [number, number];
  const first = phase < 2 ? cell - 1 : cell;
  const within = (c: number) => Math.min(Math.max(c, 0), count - 1);
  return [
    [within(first), before],
    [within(first + 1), after],
  ];
}
