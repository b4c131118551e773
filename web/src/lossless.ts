/** The body of a lossless file: an indexed body or a WebP of the whole picture. docs/format.md, "The lossless body". */
import decodeWebP, { init as initDecoder } from "@jsquash/webp/decode.js";
import encodeWebP, { init as initEncoder } from "@jsquash/webp/encode.js";
import { Corrupt } from "./errors.js";
import { readIndexed, writeIndexed } from "./indexed.js";
import { isIndexed, startOf } from "./webp.js";

export const MAX_LOSSLESS_SIDE = 16383; // pixels; what WebP can hold
const DAMAGED = "the file is damaged, get it again";

/** Gives a compiled module of libwebp: webp_dec.wasm or webp_enc_simd.wasm. */
export type LoadWasm = (name: string) => Promise<WebAssembly.Module>;

let load: LoadWasm | null = null;
let decoder: Promise<unknown> | null = null;
let encoder: Promise<unknown> | null = null;

/** Where libwebp comes from; call before the first lossless file. */
export function configureLossless(loader: LoadWasm): void {
  load = loader;
  decoder = encoder = null;
}

async function module(name: string): Promise<WebAssembly.Module> {
  if (!load) throw new Error("configureLossless was not called");
  return load(name);
}

/** The pixels of a lossless body; Corrupt unless it is an indexed one or a WebP of one VP8L chunk and of this size. */
export async function readLossless(
  body: Uint8Array,
  width: number,
  height: number,
  title = "lossless body",
): Promise<{ rgba: Uint8ClampedArray<ArrayBuffer>; alpha: boolean }> {
  if (isIndexed(body)) return readIndexed(body, width, height, title);
  const found = startOf(body, title);
  if (found.width !== width || found.height !== height)
    throw new Corrupt(
      `the ${title} is a WebP of ${found.width}x${found.height} pixels, not ${width}x${height}; ${DAMAGED}`,
    );
  decoder ??= module("webp_dec.wasm").then((wasm) => initDecoder(wasm));
  await decoder;
  try {
    const { data } = await decodeWebP(body.slice().buffer);
    const rgba = new Uint8ClampedArray(data);
    if (!found.alpha) for (let i = 3; i < rgba.length; i += 4) rgba[i] = 255;
    return { rgba, alpha: found.alpha };
  } catch (error) {
    throw new Corrupt(
      `the ${title} cannot be decoded (${error instanceof Error ? error.message : String(error)}); ${DAMAGED}`,
    );
  }
}

/** The lossless body of a picture: an indexed one, or a WebP where that is no larger. null where neither can hold it. */
export async function writeLossless(
  rgba: Uint8ClampedArray<ArrayBuffer>,
  width: number,
  height: number,
): Promise<Uint8Array | null> {
  const few = writeIndexed(rgba, width, height);
  if (Math.max(width, height) > MAX_LOSSLESS_SIDE) return few;
  const webp = await writeWebP(rgba, width, height);
  return few && few.length < webp.length ? few : webp;
}

/** A WebP of a picture without loss. Colours under opacity 0, which nobody sees, become what takes least. */
export async function writeWebP(
  rgba: Uint8ClampedArray<ArrayBuffer>,
  width: number,
  height: number,
): Promise<Uint8Array> {
  encoder ??= module("webp_enc_simd.wasm").then((wasm) => initEncoder(wasm));
  await encoder;
  const image = { data: rgba, width, height } as ImageData;
  return new Uint8Array(await encodeWebP(image, { lossless: 1, exact: 0, quality: 80, method: 4 }));
}
