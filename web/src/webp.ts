/** The start of a lossless WebP file, which tells kind and size before anything is decoded. */
import { Corrupt } from "./errors.js";

const DAMAGED = "the file is damaged, get it again";

/** Size and kind of a lossless body; Corrupt unless it is a WebP file of one VP8L chunk. */
export function startOf(body: Uint8Array, title = "lossless body"): { width: number; height: number; alpha: boolean } {
  if (body.length < 25) throw new Corrupt(`the ${title} has ${body.length} bytes, the least is 25; ${DAMAGED}`);
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const text = new TextDecoder("latin1").decode(body.subarray(0, 16));
  const length = view.getUint32(16, true);
  const bits = view.getUint32(21, true);
  const whole = view.getUint32(4, true) + 8 === body.length && length + (length % 2) + 20 === body.length;
  if (text.slice(0, 4) !== "RIFF" || text.slice(8) !== "WEBPVP8L" || body[20] !== 0x2f || bits >>> 29 || !whole)
    throw new Corrupt(`the ${title} is not a WebP file of one VP8L chunk; ${DAMAGED}`);
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1, alpha: Boolean((bits >>> 28) & 1) };
}
