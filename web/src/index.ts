/** DPC pictures in the browser: decode, encode, inspect, and the element <dpc-img>. */
import { ask, type JobOptions } from "./client.js";
import { DEFAULT_MAX_PIXELS, unpack, type Colour } from "./container.js";
import { ImageError, NotADPCFile, OptionError } from "./errors.js";
import type { Decoded } from "./messages.js";
import { checkTarget, type Target } from "./target.js";
import { hasAlpha } from "./webp.js";

export { configure, terminate, type Configuration, type JobOptions } from "./client.js";
export * from "./errors.js";
export type { Colour } from "./container.js";
export type { Target } from "./target.js";
export type { Progress } from "./messages.js";

/** Bytes of a .dpc file. */
export type Bytes = ArrayBuffer | ArrayBufferView | Blob;

/** What is known of a picture beside its pixels. The pixels are the right way up: there is no orientation to apply. */
export interface Picture {
  width: number;
  height: number;
  /** One colour channel: red, green and blue are equal. */
  grey: boolean;
  /** Whether any opacity is below 255. */
  alpha: boolean;
  /** The colour space of the pixels; "icc": that of the profile; "unknown": shown as sRGB. */
  colour: Colour;
  icc?: Uint8Array | undefined;
  exif?: Uint8Array | undefined;
  xmp?: Uint8Array | undefined;
  /** Milliseconds in each network, and in all. */
  times: Record<string, number>;
}

export interface DecodeOptions extends JobOptions {
  /** More pixels are refused with TooLarge; default 178956970. */
  maxPixels?: number;
}

/** A picture and its pixels as ImageData: exact, opacities not multiplied in. */
export type DataPicture = Picture & { image: ImageData };
/** A picture as an ImageBitmap: ready to be drawn. */
export type BitmapPicture = Picture & { image: ImageBitmap };
/** A picture as a PNG with its profile: what <img> shows. */
export type PNGPicture = Picture & { image: Blob };

/**
 * Decode a .dpc file. as: "data" (default) for ImageData, "bitmap" for an ImageBitmap, "png" for a Blob.
 * Rejects with a FormatError for a damaged file, UnknownModel for a model that is not at hand, AbortError when given up.
 */
export async function decode(bytes: Bytes, options?: DecodeOptions & { as?: "data" }): Promise<DataPicture>;
export async function decode(bytes: Bytes, options: DecodeOptions & { as: "bitmap" }): Promise<BitmapPicture>;
export async function decode(bytes: Bytes, options: DecodeOptions & { as: "png" }): Promise<PNGPicture>;
export async function decode(
  bytes: Bytes,
  options: DecodeOptions & { as?: "data" | "bitmap" | "png" } = {},
): Promise<Picture & { image: ImageData | ImageBitmap | Blob }> {
  const { as = "data", maxPixels = DEFAULT_MAX_PIXELS } = options;
  const copy = await bytesOf(bytes);
  const { rgba, bitmap, png, ...about } = await ask<Decoded>({ op: "decode", bytes: copy, maxPixels, as }, options, [
    copy.buffer,
  ]);
  const colorSpace = about.colour === "display-p3" ? "display-p3" : "srgb";
  const image = rgba ? new ImageData(rgba, about.width, about.height, { colorSpace }) : (bitmap ?? png)!;
  return { ...about, colour: about.colour as Colour, image };
}

export interface EncodeOptions extends JobOptions, Target {
  /** Name or identity of a model; default: the one that models.json calls so. */
  model?: string;
  /** True keeps every pixel; left out, that is done where it takes no more bytes or fits the target; false: never. */
  lossless?: boolean | undefined;
}

/** A picture that can be encoded. A Blob is a file that the browser can show; its profile is applied, its EXIF dropped. */
export type Encodable = ImageData | ImageBitmap | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas | Blob;

/** Encode a picture as .dpc, at a quality (default 40), at bits per pixel, or within a size. */
export async function encode(picture: Encodable, options: EncodeOptions = {}): Promise<Uint8Array> {
  const { quality, bpp, maxBytes, model = null, lossless } = options;
  const target: Target = { quality, bpp, maxBytes };
  checkTarget(target, lossless);
  const image = picture instanceof ImageData ? picture : await bitmapOf(picture);
  return ask<Uint8Array>(
    { op: "encode", image, target, model, lossless },
    options,
    image instanceof ImageData ? [] : [image],
  );
}

/** What a file says of itself, without decoding it. */
export interface Info {
  width: number;
  height: number;
  grey: boolean;
  alpha: boolean;
  /** Nothing of the picture was lost, or, where merged, nothing but rare colours and noise. */
  lossless: boolean;
  merged: boolean;
  colour: Colour;
  /** Identity of the model, 8 hexadecimal digits; null where the body is lossless. */
  model: string | null;
  level: number | null;
  bytes: number;
  /** Bits per pixel, all bytes counted. */
  bpp: number;
  /** Bytes of each chunk. */
  chunks: Record<string, number>;
}

/** What a file holds; the whole file is checked, nothing is decoded. Throws a FormatError for a damaged one. */
export function inspect(bytes: ArrayBuffer | ArrayBufferView): Info {
  const view = viewOf(bytes);
  const { width, height, grey, lossless, merged, colour, model, level, ...payloads } = unpack(view);
  const chunks = Object.entries(payloads).filter(
    (entry): entry is [string, Uint8Array] => entry[1] instanceof Uint8Array,
  );
  return {
    ...{ width, height, grey, lossless, merged, colour, model, level },
    alpha: lossless ? hasAlpha(payloads.body) : payloads.alpha !== undefined,
    bytes: view.length,
    bpp: (8 * view.length) / (width * height),
    chunks: Object.fromEntries(chunks.map(([name, payload]) => [name, payload.length])),
  };
}

/** Fetch a model and make its networks ready, so that the first picture does not wait for them. */
export async function prepare(options: JobOptions & { model?: string; encode?: boolean } = {}): Promise<void> {
  await ask<null>({ op: "prepare", model: options.model ?? null, encode: options.encode ?? false }, options);
}

/** Fetch and decode a .dpc file for <img>; what the element and the polyfill use. */
export async function fetchPicture(url: string | URL, options: DecodeOptions = {}): Promise<PNGPicture> {
  const response = await fetch(url, { signal: options.signal ?? null, headers: { Accept: "image/x-dpc,*/*;q=0.1" } });
  if (!response.ok)
    throw new NotADPCFile(`${response.url || url} cannot be fetched: ${response.status} ${response.statusText}`);
  return decode(await response.arrayBuffer(), { ...options, as: "png" });
}

function viewOf(bytes: ArrayBuffer | ArrayBufferView): Uint8Array {
  if (bytes instanceof ArrayBuffer) return new Uint8Array(bytes);
  if (ArrayBuffer.isView(bytes)) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  throw new OptionError(`a ${typeof bytes} is no .dpc file; give an ArrayBuffer, a typed array or a Blob`);
}

async function bytesOf(bytes: Bytes): Promise<Uint8Array<ArrayBuffer>> {
  return bytes instanceof Blob ? new Uint8Array(await bytes.arrayBuffer()) : new Uint8Array(viewOf(bytes));
}

async function bitmapOf(picture: Exclude<Encodable, ImageData>): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(picture, { premultiplyAlpha: "none", imageOrientation: "from-image" });
  } catch (error) {
    throw new ImageError(
      `the picture cannot be read by this browser (${error instanceof Error ? error.message : String(error)}); convert it to PNG or JPEG`,
    );
  }
}
