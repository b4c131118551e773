/** Sizes of a picture's latents, and pieces of them: docs/format.md, "Geometry"; src/dpc/codec/tiles.py. */

export const STRIDE = 16;
export const HYPER = 4;
export const STRIP = 32; // rows of positions in a strip
const SMALLEST = 4;
const CORE = 96; // positions of a piece along a side, without its halo
const HALO = 8;

/** Positions of a picture along a side of so many pixels. */
export function positions(pixels: number): number {
  return Math.max(SMALLEST, Math.ceil(pixels / STRIDE));
}

/** Hyper-latent positions for so many positions. */
export function cells(count: number): number {
  return Math.ceil(count / HYPER);
}

/** The halo for networks with so many blocks at 1/4, 1/8 and 1/16, and so many channel groups. */
export function haloOf(encoder: readonly number[], decoder: readonly number[], groups: number): number {
  const seen = ([d4 = 0, d8 = 0, d16 = 0]: readonly number[]) => d16 + d8 / 2 + d4 / 4 + 1.5;
  return Math.max(HALO, HYPER * Math.ceil(Math.max(seen(encoder), seen(decoder), groups + 2) / HYPER));
}

/** A range along one side: the core, and the core with its halo. */
export interface Span {
  start: number;
  stop: number;
  low: number;
  high: number;
}

/** Pieces of n positions; a last piece too thin for the networks borrows more from its neighbour. */
export function spans(n: number, halo: number): Span[] {
  if (n <= CORE + 2 * halo) return [{ start: 0, stop: n, low: 0, high: n }];
  const out: Span[] = [];
  for (let start = 0; start < n; start += CORE) {
    const stop = Math.min(start + CORE, n);
    const high = Math.min(n, stop + halo);
    out.push({ start, stop, low: Math.min(Math.max(0, start - halo), Math.max(0, high - 2 * halo)), high });
  }
  return out;
}

/** Channels of rows and columns of numbers. */
export class Plane {
  constructor(
    readonly channels: number,
    readonly rows: number,
    readonly columns: number,
    readonly data: Float32Array = new Float32Array(channels * rows * columns),
  ) {}

  get dims(): number[] {
    return [1, this.channels, this.rows, this.columns];
  }

  /** Columns low ... high of the first `channels` channels, all rows. */
  cut(low: number, high: number, channels = this.channels): Plane {
    if (low === 0 && high === this.columns)
      return channels === this.channels
        ? this
        : new Plane(channels, this.rows, high, this.data.subarray(0, channels * this.rows * high));
    const out = new Plane(channels, this.rows, high - low);
    for (let i = 0; i < channels * this.rows; i++)
      out.data.set(this.data.subarray(i * this.columns + low, i * this.columns + high), i * (high - low));
    return out;
  }
}
