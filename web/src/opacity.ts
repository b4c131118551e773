/** The alpha chunk: the opacity of every pixel, as a WebP or, of long sides, a PNG. docs/format.md, "Alpha". */
import { Corrupt } from "./errors.js";
import { MAX_LOSSLESS_SIDE, readLossless, writeWebP } from "./lossless.js";
import { isPNG, readGrey, writeGrey } from "./png.js";

/** The opacities; Corrupt unless the chunk is an 8-bit grey PNG or a lossless body of this size. */
export async function readOpacity(bytes: Uint8Array, width: number, height: number): Promise<Uint8Array> {
  if (isPNG(bytes)) return readGrey(bytes, width, height);
  const { rgba, alpha } = await readLossless(bytes, width, height, "alpha chunk");
  if (alpha) throw new Corrupt("the alpha chunk has opacities of its own; the file is damaged, get it again");
  return Uint8Array.from({ length: width * height }, (_, i) => rgba[4 * i]!);
}

/** The chunk of width x height opacities: a WebP of them as greys, a PNG where a side is too long for that. */
export async function writeOpacity(values: Uint8Array, width: number, height: number): Promise<Uint8Array> {
  if (Math.max(width, height) > MAX_LOSSLESS_SIDE) return writeGrey(values, width, height);
  const rgba = Uint8ClampedArray.from({ length: 4 * values.length }, (_, i) => (i % 4 < 3 ? values[i >> 2]! : 255));
  return writeWebP(rgba, width, height);
}
