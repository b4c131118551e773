/**
 * Colours under opacity 0: nobody sees them, so they are replaced by a continuation of the visible ones, which costs least and
 * leaves nothing of what was there. src/dpc/codec/hidden.py.
 */

const MIDDLE = 128; // where all is hidden

interface Layer {
  h: number;
  w: number;
  rgb: Float32Array;
  seen: Uint8Array;
}

/** Replace, in place, the colours of pixels of opacity 0; the result depends on the visible ones alone. */
export function cover(rgba: Uint8ClampedArray, width: number, height: number): void {
  const pixels = width * height;
  const whole = { h: height, w: width, rgb: new Float32Array(3 * pixels), seen: new Uint8Array(pixels) };
  for (let i = 0; i < pixels; i++) {
    whole.seen[i] = rgba[4 * i + 3] ? 1 : 0;
    for (let c = 0; c < 3; c++) whole.rgb[3 * i + c] = rgba[4 * i + c]!;
  }
  if (!whole.seen.includes(0)) return;
  if (whole.seen.includes(1)) fill(whole);
  else whole.rgb.fill(MIDDLE);
  for (let i = 0; i < pixels; i++)
    if (!whole.seen[i]) for (let c = 0; c < 3; c++) rgba[4 * i + c] = whole.rgb[3 * i + c]!;
}

/** Give what is hidden the mean of what is visible around it, from the coarsest means to the finest. */
function fill(layer: Layer): void {
  if (!layer.seen.includes(0)) return;
  const coarse = halved(layer);
  fill(coarse);
  for (let i = 0, at = 0; i < layer.h; i++)
    for (let j = 0; j < layer.w; j++, at++) {
      const from = (i >> 1) * coarse.w + (j >> 1);
      if (!layer.seen[at]) for (let c = 0; c < 3; c++) layer.rgb[3 * at + c] = coarse.rgb[3 * from + c]!;
    }
}

/** The means of the visible pixels of every 2x2; visible where any of them is. */
function halved({ h, w, rgb, seen }: Layer): Layer {
  const [rows, columns] = [(h + 1) >> 1, (w + 1) >> 1];
  const out = { h: rows, w: columns, rgb: new Float32Array(3 * rows * columns), seen: new Uint8Array(rows * columns) };
  const counts = new Uint8Array(rows * columns);
  for (let i = 0, at = 0; i < h; i++)
    for (let j = 0; j < w; j++, at++) {
      if (!seen[at]) continue;
      const to = (i >> 1) * columns + (j >> 1);
      counts[to]!++;
      for (let c = 0; c < 3; c++) out.rgb[3 * to + c]! += rgb[3 * at + c]!;
    }
  for (let to = 0; to < counts.length; to++) {
    if (!counts[to]) continue;
    out.seen[to] = 1;
    for (let c = 0; c < 3; c++) out.rgb[3 * to + c]! /= counts[to]!;
  }
  return out;
}
