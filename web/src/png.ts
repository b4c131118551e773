/**
 * PNG, as far as DPC needs it: opacities (8-bit grey, not interlaced) in both directions, and whole pictures
 * for the browser's own <img>, with their colour profile, without compression.
 */
import { inflateSync, zlibSync } from "fflate";
import { joined } from "./bytes.js";
import { adler32, crc32 } from "./checksum.js";
import type { Colour } from "./container.js";
import { Corrupt } from "./errors.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GREY = 0;
const RGB = 2;
const RGBA = 6;

/** The first 29 bytes of an 8-bit PNG that is not interlaced. */
function start(width: number, height: number, type: number): Uint8Array {
  const out = new DataView(new ArrayBuffer(29));
  SIGNATURE.forEach((byte, i) => out.setUint8(i, byte));
  out.setUint32(8, 13);
  out.setUint32(12, 0x49484452); // IHDR
  out.setUint32(16, width);
  out.setUint32(20, height);
  out.setUint8(24, 8);
  out.setUint8(25, type);
  return new Uint8Array(out.buffer);
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(12 + data.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i);
  out.set(data, 8);
  view.setUint32(8 + data.length, crc32(out.subarray(4, 8 + data.length)));
  return out;
}

/** A PNG of width x height opacities. */
export function writeGrey(values: Uint8Array, width: number, height: number): Uint8Array {
  const rows = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y++) {
    // the filter "up" suits opacities: most rows repeat the one above
    rows[y * (width + 1)] = y ? 2 : 0;
    for (let x = 0; x < width; x++)
      rows[y * (width + 1) + 1 + x] = values[y * width + x]! - (y ? values[(y - 1) * width + x]! : 0);
  }
  const head = start(width, height, GREY);
  return joined([
    head,
    numbers([crc32(head.subarray(12))]),
    chunk("IDAT", zlibSync(rows, { level: 9 })),
    chunk("IEND", new Uint8Array()),
  ]);
}

/** Whether bytes begin as a PNG does. */
export function isPNG(bytes: Uint8Array): boolean {
  return bytes[0] === SIGNATURE[0];
}

/** The opacities in such a PNG; Corrupt unless it is a sound 8-bit grey PNG of this size. */
export function readGrey(bytes: Uint8Array, width: number, height: number): Uint8Array {
  if (!start(width, height, GREY).every((byte, i) => bytes[i] === byte))
    throw new Corrupt(
      `the alpha chunk is not an 8-bit grey PNG of ${width}x${height} pixels; the file is damaged, get it again`,
    );
  const wrong = (why: string) =>
    new Corrupt(`the alpha chunk cannot be decoded (${why}); the file is damaged, get it again`);
  const data = joined(imageData(bytes, wrong));
  const rows = new Uint8Array((width + 1) * height + 1); // one more than there may be
  let length: number;
  if (data.length < 6 || (data[0]! & 15) !== 8 || data[0]! > 0x78 || (data[0]! * 256 + data[1]!) % 31 || data[1]! & 32)
    throw wrong("no zlib data");
  try {
    length = inflateSync(data.subarray(2, -4), { out: rows }).length;
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
  if (length !== rows.length - 1) throw wrong("not as many pixels as the size says");
  const pixels = rows.subarray(0, -1);
  const check = new DataView(data.buffer, data.byteOffset + data.length - 4, 4).getUint32(0);
  if (adler32(pixels) !== check) throw wrong("the checksum of its pixels is wrong");
  return unfiltered(pixels, width, height, wrong);
}

/** The payloads of the IDAT chunks, every chunk checked. */
function imageData(bytes: Uint8Array, wrong: (why: string) => Corrupt): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: Uint8Array[] = [];
  let at = 8;
  for (;;) {
    if (at + 12 > bytes.length) throw wrong("it ends too early");
    const length = view.getUint32(at);
    if (length > bytes.length - at - 12) throw wrong("a chunk is longer than the alpha chunk");
    const type = new TextDecoder("latin1").decode(bytes.subarray(at + 4, at + 8));
    if (crc32(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length))
      throw wrong(`the checksum of its chunk ${type} is wrong`);
    if (type === "IEND") return parts;
    if (type === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
}

function unfiltered(rows: Uint8Array, width: number, height: number, wrong: (why: string) => Corrupt): Uint8Array {
  const out = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (width + 1)]!;
    if (filter > 4) throw wrong(`filter ${filter} of row ${y}`);
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      const left = x ? out[at - 1]! : 0;
      const up = y ? out[at - width]! : 0;
      const corner = x && y ? out[at - width - 1]! : 0;
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter]!;
      out[at] = rows[y * (width + 1) + 1 + x]! + guess;
    }
  }
  return out;
}

function paeth(left: number, up: number, corner: number): number {
  const p = left + up - corner;
  const [a, b, c] = [Math.abs(p - left), Math.abs(p - up), Math.abs(p - corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/** A whole picture as a PNG without compression: quick to write, and every browser shows it with its profile. */
export function writePicture(
  rgba: Uint8Array | Uint8ClampedArray,
  width: number,
  height: number,
  options: { alpha: boolean; colour?: Colour | undefined; icc?: Uint8Array | undefined },
): Uint8Array<ArrayBuffer> {
  const channels = options.alpha ? 4 : 3;
  const stride = 1 + width * channels;
  const rows = new Uint8Array(stride * height);
  for (let y = 0, from = 0; y < height; y++) {
    let to = y * stride + 1;
    if (options.alpha) rows.set(rgba.subarray(from, (from += 4 * width)), to);
    else
      for (let x = 0; x < width; x++, from += 4) {
        rows[to++] = rgba[from]!;
        rows[to++] = rgba[from + 1]!;
        rows[to++] = rgba[from + 2]!;
      }
  }
  const head = start(width, height, options.alpha ? RGBA : RGB);
  const parts = [head, numbers([crc32(head.subarray(12))])];
  parts.push(...colourChunks(options.colour ?? "unknown", options.icc));
  parts.push(chunk("IDAT", stored(rows)), chunk("IEND", new Uint8Array()));
  return joined(parts);
}

/** The chunks that tell a browser the colour space: none for sRGB. */
function colourChunks(colour: Colour, icc: Uint8Array | undefined): Uint8Array[] {
  if (colour === "icc" && icc)
    return [chunk("iCCP", joined([new TextEncoder().encode("ICC profile\0\0"), zlibSync(icc)]))];
  if (colour === "display-p3") return [chunk("cICP", Uint8Array.of(12, 13, 0, 1))];
  if (colour === "a98-rgb") return [chunk("gAMA", numbers([45470])), chunk("cHRM", numbers(ADOBE_RGB))];
  return [];
}

/** White, red, green and blue of Adobe RGB (1998), x and y in hundred-thousandths. */
const ADOBE_RGB = [31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000];

function numbers(values: readonly number[]): Uint8Array {
  const out = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => out.setUint32(4 * i, value));
  return new Uint8Array(out.buffer);
}

/** Bytes in zlib's frame, in stored blocks. */
function stored(bytes: Uint8Array): Uint8Array {
  const most = 65535;
  const blocks = Math.max(1, Math.ceil(bytes.length / most));
  const out = new Uint8Array(2 + 5 * blocks + bytes.length + 4);
  const view = new DataView(out.buffer);
  out.set([0x78, 0x01]);
  let to = 2;
  for (let i = 0; i < blocks; i++) {
    const block = bytes.subarray(i * most, (i + 1) * most);
    out[to] = i === blocks - 1 ? 1 : 0;
    view.setUint16(to + 1, block.length, true);
    view.setUint16(to + 3, ~block.length & 0xffff, true);
    out.set(block, to + 5);
    to += 5 + block.length;
  }
  view.setUint32(to, adler32(bytes));
  return out;
}
