/** The start of a lossless body, which tells its kind, and the size of a WebP, before anything is decoded. */
import { Corrupt } from "./errors.js";

const DAMAGED = "the file is damaged, get it again";

/**
 * The first byte of an indexed body; that of a WebP is an R. CLEAR: its last colour is opacity 0. TRANSLUCENT: each
 * colour has its opacity.
 */
export const OPAQUE = 1;
export const CLEAR = 2;
export const TRANSLUCENT = 3;

export function isIndexed(body: Uint8Array): boolean {
  return body[0] === OPAQUE || body[0] === CLEAR || body[0] === TRANSLUCENT;
}

/** Whether the picture of a lossless body has an alpha channel; Corrupt where it is no such body. */
export function hasAlpha(body: Uint8Array): boolean {
  return isIndexed(body) ? body[0] !== OPAQUE : startOf(body).alpha;
}

/** Size and kind of a WebP; Corrupt unless the body is a WebP file of one VP8L chunk. */
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
