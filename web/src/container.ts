/**
 * The .dpc file, format 2: header and chunks <-> bytes, by the rules of docs/format.md. Nothing here knows what a payload
 * means, and no memory is taken for a size before that size was held against its limit.
 */
import { unzlibSync, zlibSync } from "fflate";
import { adler32, crc32 } from "./checksum.js";
import { Corrupt, DPCError, FormatError, NotADPCFile, TooLarge, Truncated, UnsupportedVersion } from "./errors.js";
import { joined } from "./bytes.js";

export const MAGIC = [0x89, 0x44, 0x50, 0x43];
export const VERSION = 2;
export const MAX_SIDE = 65535;
export const MAX_PIXELS = 2 ** 28;
/** What decoders refuse by default: twice the number of pixels from which Pillow warns, as in Python. */
export const DEFAULT_MAX_PIXELS = 178956970;
const MAX_ICC = 2 ** 22;
const LONGEST_UNKNOWN = 2 ** 22;
const DAMAGED = "the file is damaged, get it again";
const CHECKSUM = `the checksum is not that of the content; ${DAMAGED}`;
const CUT = "the file was cut short, get it again";

/** The colour spaces that a file can name, by their codes. */
export const COLOURS = ["unknown", "srgb", "display-p3", "a98-rgb", "icc"] as const;
export type Colour = (typeof COLOURS)[number];

/**
 * What the first bytes of a file say. model (8 hexadecimal digits) and level are null where the body is lossless. merged:
 * rare colours or noise were given to near ones before the rest was kept without loss.
 */
export interface Header {
  width: number;
  height: number;
  grey: boolean;
  lossless: boolean;
  merged: boolean;
  colour: Colour;
  model: string | null;
  level: number | null;
}

/** The payloads of a file, as they stand in it. */
export interface Chunks {
  qualityMap?: Uint8Array;
  body: Uint8Array;
  alpha?: Uint8Array;
  overlay?: Uint8Array;
  smoothing?: Uint8Array;
  wideSmoothing?: Uint8Array;
  icc?: Uint8Array;
  exif?: Uint8Array;
  xmp?: Uint8Array;
  density?: Uint8Array;
}

export type DPCFile = Header & Chunks;

interface Kind {
  type: number;
  name: keyof Chunks | null;
  title: string;
  shortest: number;
  longest: number;
}

const CHUNKS: readonly Kind[] = [
  { type: 0x01, name: "qualityMap", title: "quality map", shortest: 4, longest: 2 ** 18 },
  { type: 0x02, name: "body", title: "body", shortest: 4, longest: 2 ** 30 },
  { type: 0x03, name: "alpha", title: "alpha", shortest: 1, longest: 2 ** 29 },
  { type: 0x04, name: "overlay", title: "overlay", shortest: 1, longest: 2 ** 29 },
  { type: 0x05, name: "smoothing", title: "smoothing", shortest: 4, longest: 2 ** 19 },
  { type: 0x06, name: "wideSmoothing", title: "wide smoothing", shortest: 4, longest: 2 ** 19 },
  { type: 0x81, name: "icc", title: "ICC profile", shortest: 1, longest: 2 ** 22 },
  { type: 0x82, name: "exif", title: "EXIF", shortest: 1, longest: 2 ** 20 },
  { type: 0x83, name: "xmp", title: "XMP", shortest: 1, longest: 2 ** 22 },
  { type: 0x84, name: "density", title: "density", shortest: 8, longest: 8 },
];

/** What a lossless file has none of. */
const OF_LEARNED = new Set<keyof Chunks>(["qualityMap", "alpha", "overlay", "smoothing", "wideSmoothing"]);

/** Bytes that are read from first to last; `at` is the next one. */
class Reader {
  constructor(
    readonly bytes: Uint8Array,
    public at: number,
    readonly end = bytes.length,
  ) {}

  byte(name: string): number {
    if (this.at >= this.end)
      throw new Truncated(`the file ends in ${name}, after ${this.end} bytes; it was cut short, get it again`);
    return this.bytes[this.at++]!;
  }

  raw(size: number, name: string): number[] {
    return Array.from({ length: size }, () => this.byte(name));
  }

  varint(size: number, name: string): number {
    let value = 0;
    for (let i = 0; i < size; i++) {
      const byte = this.byte(name);
      value += (byte & 0x7f) * 128 ** i;
      if (byte < 0x80) {
        if (i && !byte) throw new Corrupt(`${name} is ${value} in ${i + 1} bytes, it must take the fewest; ${DAMAGED}`);
        return value;
      }
    }
    throw new Corrupt(`${name} is longer than ${size} bytes; ${DAMAGED}`);
  }
}

/** An unsigned LEB128 integer in its shortest form. */
export function varint(value: number): number[] {
  const out: number[] = [];
  while (value > 0x7f) {
    out.push((value % 128) + 128);
    value = Math.floor(value / 128);
  }
  return [...out, value];
}

/** Corrupt for an empty picture, TooLarge for one above the limits of the format. */
export function checkSize(width: number, height: number): void {
  if (width < 1 || height < 1)
    throw new Corrupt(`a picture of ${width}x${height} pixels is empty, the least is 1x1; ${DAMAGED}`);
  if (Math.max(width, height) > MAX_SIDE || width * height > MAX_PIXELS)
    throw new TooLarge(
      `${width}x${height} pixels: a DPC picture has at most ${MAX_SIDE} on a side and ${MAX_PIXELS} in all; scale it down or cut it into parts`,
    );
}

/** The header, from at least the first 18 bytes of a file (or all of a shorter one). */
export function peek(bytes: Uint8Array): Header {
  return readHeader(bytes).header;
}

function readHeader(bytes: Uint8Array): { header: Header; at: number } {
  const start = Array.from(bytes.subarray(0, 4));
  if (start.some((byte, i) => byte !== MAGIC[i]))
    throw new NotADPCFile(
      `the first bytes are ${hex(start, " ")}, those of a DPC file are ${hex(MAGIC, " ")}; give a .dpc file`,
    );
  const reader = new Reader(bytes, 4);
  if (bytes.length < 4) reader.raw(4, "the magic");
  const version = reader.byte("version");
  if (version !== VERSION)
    throw new UnsupportedVersion(
      `the file is of format version ${version}, this release reads ${VERSION}; update dpc-web, or encode the picture again`,
    );
  const flags = reader.byte("flags");
  const colour = COLOURS[(flags >> 2) & 7];
  if (flags & 0xc0 || !colour)
    throw new Corrupt(`flags are 0x${hex([flags])}: bits 6 and 7 must be 0 and bits 2 to 4 at most 4; ${DAMAGED}`);
  const merged = Boolean(flags & 0x20);
  if (merged && !(flags & 2))
    throw new Corrupt(
      `flags are 0x${hex([flags])}: bit 5, merged colours, stands with bit 1, lossless, only; ${DAMAGED}`,
    );
  const width = reader.varint(3, "width");
  const height = reader.varint(3, "height");
  checkSize(width, height);
  const lossless = Boolean(flags & 2);
  const model = lossless ? null : hex(reader.raw(4, "model"));
  const level = lossless ? null : reader.byte("level") + 256 * reader.byte("level");
  return { header: { width, height, grey: Boolean(flags & 1), lossless, merged, colour, model, level }, at: reader.at };
}

/** The file that these bytes hold, all of it checked; a FormatError says which rule they break, or that they are damaged. */
export function unpack(bytes: Uint8Array): DPCFile {
  const { header, at } = readHeader(bytes);
  const end = bytes.length - 4;
  if (at > end)
    throw new Truncated(`the file ends in the checksum, after ${bytes.length} bytes; it was cut short, get it again`);
  let file: DPCFile;
  try {
    file = readFile(header, new Reader(bytes, at, end));
  } catch (error) {
    throw error instanceof FormatError ? plainer(error, bytes, at) : error;
  }
  if (!isChecksum(crc32(bytes.subarray(0, end)), bytes, end)) throw plainer(new Corrupt(CHECKSUM), bytes, at);
  return file;
}

/** The file whose chunks the reader stands before. */
function readFile(header: Header, reader: Reader): DPCFile {
  const chunks = readChunks(reader);
  if (!chunks.body) throw new Corrupt("there is no body chunk, a DPC file has exactly one; get the file again");
  const file = { ...header, ...chunks, body: chunks.body };
  checkTogether(file);
  return file;
}

/**
 * What to say of a file, its chunks beginning at `at`, that breaks a rule. Where the checksum is wrong, damage broke the
 * rule, and to name it helps nobody; where a whole file lies at the beginning, something was appended to it.
 */
function plainer(error: FormatError, bytes: Uint8Array, at: number): FormatError {
  const end = firstEnd(bytes, at);
  if (end !== null && end < bytes.length)
    return new Corrupt(
      `the file has ${bytes.length} bytes, its picture ends after ${end}: something was appended; cut it off, or get the file again`,
    );
  const content = bytes.length - 4;
  const kept = error instanceof Truncated || isChecksum(crc32(bytes.subarray(0, content)), bytes, content);
  return kept ? error : new Corrupt(CHECKSUM);
}

/** Where the file that these bytes begin with ends, by its chunks from `at` on and its checksum; null: nowhere. */
function firstEnd(bytes: Uint8Array, at: number): number | null {
  const reader = new Reader(bytes, at);
  let crc = crc32(bytes.subarray(0, at));
  let last = 0;
  try {
    for (;;) {
      const begin = reader.at;
      const type = reader.byte("chunk type");
      const length = reader.varint(5, "chunk length");
      if (type <= last) return null;
      last = type;
      reader.at += length;
      crc = crc32(bytes.subarray(begin, reader.at), crc);
      if (isChecksum(crc, bytes, reader.at)) return reader.at + 4;
    }
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

/** Whether the bytes at `at` are this checksum. */
function isChecksum(crc: number, bytes: Uint8Array, at: number): boolean {
  if (at + 4 > bytes.length) return false;
  return new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0, true) === crc;
}

function readChunks(reader: Reader): Partial<Chunks> {
  const chunks: Partial<Chunks> = {};
  let last = 0;
  while (reader.at < reader.end) {
    const type = reader.byte("chunk type");
    if (type <= last)
      throw new Corrupt(`chunk type ${type} comes after type ${last}, types must rise from 1; ${DAMAGED}`);
    last = type;
    const kind = CHUNKS.find((k) => k.type === type) ?? unknown(type);
    const length = reader.varint(5, `length of the ${kind.title} chunk`);
    checkLength(kind, length);
    const left = reader.end - reader.at;
    if (length > left)
      throw new Truncated(`the ${kind.title} chunk is ${length} bytes long but ${left} are left; ${CUT}`);
    if (kind.name) chunks[kind.name] = reader.bytes.subarray(reader.at, reader.at + length);
    reader.at += length;
  }
  return chunks;
}

function unknown(type: number): Kind {
  if (type < 128)
    throw new UnsupportedVersion(
      `the file holds a chunk of type ${type}, which this release does not know and must not skip; update dpc-web`,
    );
  return { type, name: null, title: `type ${type}`, shortest: 0, longest: LONGEST_UNKNOWN };
}

function checkLength(kind: Kind, length: number): void {
  if (length < kind.shortest)
    throw new Corrupt(`the ${kind.title} chunk is ${length} bytes long, the least is ${kind.shortest}; ${DAMAGED}`);
  if (length > kind.longest)
    throw new TooLarge(
      `the ${kind.title} chunk is ${length} bytes long, the limit is ${kind.longest}; remove it or cut the picture into parts`,
    );
}

function checkTogether(file: DPCFile): void {
  const own = CHUNKS.find(({ name }) => name && OF_LEARNED.has(name) && file[name])?.title;
  if (file.lossless && own) throw new Corrupt(`a lossless file has no ${own} chunk of its own; ${DAMAGED}`);
  if ((file.colour === "icc") !== Boolean(file.icc))
    throw new Corrupt(
      `the colour code is ${COLOURS.indexOf(file.colour)}, an ICC profile belongs to 4 and to no other, and there is ${file.icc ? "one" : "none"}; ${DAMAGED}`,
    );
}

/** The bytes of a file; what `unpack` would refuse is refused here, with the same error. */
export function pack(file: DPCFile): Uint8Array {
  checkSize(file.width, file.height);
  checkTogether(file);
  const flags =
    Number(file.grey) + 2 * Number(file.lossless) + 4 * COLOURS.indexOf(file.colour) + 32 * Number(file.merged);
  const parts = [Uint8Array.from([...MAGIC, VERSION, flags, ...varint(file.width), ...varint(file.height)])];
  if (!file.lossless) {
    const { model, level } = file;
    if (!model || level === null) throw new Corrupt("a learned body needs a model and a level; give both");
    parts.push(Uint8Array.from([...model.match(/../g)!.map((b) => parseInt(b, 16)), level % 256, level >> 8]));
  }
  for (const kind of CHUNKS) {
    const payload = kind.name && file[kind.name];
    if (!payload) continue;
    checkLength(kind, payload.length);
    parts.push(Uint8Array.from([kind.type, ...varint(payload.length)]), new Uint8Array(payload));
  }
  const out = joined([...parts, new Uint8Array(4)]);
  new DataView(out.buffer).setUint32(out.length - 4, crc32(out.subarray(0, -4)), true);
  return out;
}

/** The profile of an ICC chunk; Corrupt unless it is one whole zlib stream of 1 to 2^22 bytes. */
export function inflated(payload: Uint8Array): Uint8Array {
  const wrong = () => new Corrupt(`the ICC profile is not one whole zlib stream of 1 to ${MAX_ICC} bytes; ${DAMAGED}`);
  try {
    const profile = unzlibSync(payload, { out: new Uint8Array(Math.min(MAX_ICC, payload.length * 1100) + 1) });
    const check = new DataView(payload.buffer, payload.byteOffset + payload.length - 4, 4).getUint32(0);
    if (!profile.length || profile.length > MAX_ICC || adler32(profile) !== check) throw wrong();
    return profile.slice();
  } catch (error) {
    throw error instanceof DPCError ? error : wrong();
  }
}

/** The payload of an ICC chunk. */
export function deflated(profile: Uint8Array): Uint8Array {
  if (profile.length > MAX_ICC)
    throw new TooLarge(
      `the ICC profile is ${profile.length} bytes long, the limit is ${MAX_ICC}; convert the picture to sRGB and remove its profile`,
    );
  return zlibSync(profile, { level: 9 });
}

function hex(bytes: readonly number[], between = ""): string {
  return bytes.map((b) => b.toString(16).padStart(2, "0")).join(between);
}
