/**
 * The learned body of docs/format.md: strips, and in each strip hyper-latents z, then residuals r, group by group. The
 * only place that knows the order of the context model.
 */
import { AnsDecoder, AnsEncoder, ESCAPE_LIMIT, bitsOf, putPart, readPart } from "./ans.js";
import type { Artifact } from "./artifact.js";
import { joined } from "./bytes.js";
import { varint } from "./container.js";
import { Corrupt } from "./errors.js";
import { HYPER, Plane, STRIP, cells, spans } from "./geometry.js";
import type { Levels } from "./quality_map.js";
import type { Graphs, Tensor } from "./runtime.js";

/** The integers of a strip of h rows and w columns: z (C, ceil(h / 4), ceil(w / 4)) and r (N, whole cells), zero beyond h, w. */
export interface Latents {
  h: number;
  w: number;
  z: Plane;
  r: Plane;
}

/** Gives the residuals of the group whose scale indices these are. */
type Take = (start: number, index: Uint8Array) => Int32Array;

/** The streams of a body, one for each strip. */
export function streamsOf(body: Uint8Array, strips: number): Uint8Array[] {
  const lengths: number[] = [];
  let at = 0;
  for (let i = 1; i < strips; i++) {
    let words = 0;
    for (let k = 0; ; k++) {
      const byte = body[at++];
      if (byte === undefined || k === 4 || (k && !byte))
        throw new Corrupt("the table of strips is not sound; the file is damaged");
      words += (byte & 0x7f) * 128 ** k;
      if (byte < 0x80) break;
    }
    if (!words) throw new Corrupt("a strip has no stream; the file is damaged");
    lengths.push(4 * words);
  }
  const streams: Uint8Array[] = [];
  for (const length of lengths) {
    if (at + length > body.length) throw new Corrupt("a strip goes on past the end of the body; the file is damaged");
    streams.push(body.subarray(at, (at += length)));
  }
  return [...streams, body.subarray(at)];
}

/** The body of these streams. */
export function bodyOf(streams: readonly Uint8Array[]): Uint8Array {
  const table = streams.slice(0, -1).flatMap((stream) => varint(stream.length / 4));
  return joined([Uint8Array.from(table), ...streams]);
}

/** Rows of positions of each strip of a picture: where it begins, and how many. */
export function stripsOf(h: number): { top: number; rows: number }[] {
  return Array.from({ length: Math.ceil(h / STRIP) }, (_, i) => ({
    top: i * STRIP,
    rows: Math.min(STRIP, h - i * STRIP),
  }));
}

/** Corrupt for a stream that is shorter than the likeliest hyper-latents of its strip. */
export function checkLength(artifact: Artifact, stream: Uint8Array, levels: Levels): void {
  const channels = artifact.metadata.network.hyper_latents;
  const least = new Map<number, number>();
  let bits = 0;
  for (const level of levels.cells) {
    let cell = least.get(level);
    if (cell === undefined) {
      cell = 0;
      for (let c = 0; c < channels; c++) cell += artifact.tables[artifact.zIndices[level * channels + c]! - 1]!.least;
      least.set(level, cell);
    }
    bits += cell;
  }
  if (stream.length < bits / 8 - 16)
    throw new Corrupt(
      `a stream has ${stream.length} bytes, its strip takes at least ${Math.floor(bits / 8)}; the file is damaged`,
    );
}

/** The latents in a stream. */
export async function readStrip(
  graphs: Graphs,
  stream: Uint8Array,
  levels: Levels,
  h: number,
  w: number,
  halo: number,
): Promise<Latents> {
  const { artifact } = graphs;
  const { hyper_latents: channels, latents } = artifact.metadata.network;
  const decoder = new AnsDecoder(stream);
  const values = readPart(decoder, artifact.tables, zIndex(artifact, levels));
  const limit = artifact.metadata.z_limit;
  if (values.some((v) => Math.abs(v) > limit))
    throw new Corrupt(`a hyper-latent lies outside -${limit}..${limit}; the file is damaged`);
  const z = new Plane(channels, cells(h), cells(w), Float32Array.from(values));
  const r = new Plane(latents, HYPER * z.rows, HYPER * z.columns);
  const strip = { h, w, z, r };
  await eachGroup(graphs, strip, levels, halo, (start, index) => {
    const part = readPart(decoder, artifact.tables, index);
    keep(strip, start, part);
    return part;
  });
  decoder.finish();
  return strip;
}

/** The stream of latents. What the tables cannot hold is set to 0 where its scale index is 0, and limited elsewhere. */
export async function writeStrip(graphs: Graphs, strip: Latents, levels: Levels, halo: number): Promise<Uint8Array> {
  const parts = await partsOf(graphs, strip, levels, halo);
  const encoder = new AnsEncoder();
  for (const { values, index } of parts.reverse()) putPart(encoder, graphs.artifact.tables, values, index);
  return encoder.finish();
}

/** About the bytes that writeStrip would take. */
export async function estimateStrip(graphs: Graphs, strip: Latents, levels: Levels, halo: number): Promise<number> {
  const parts = await partsOf(graphs, strip, levels, halo);
  const bits = parts.reduce(
    (sum, { values, index }) => sum + bitsOf(graphs.artifact.tables, values, index),
    PRECISION_BITS,
  );
  return 4 * Math.ceil(bits / 32);
}

const PRECISION_BITS = 24; // of the first state

interface Part {
  values: Int32Array;
  index: Uint8Array;
}

async function partsOf(graphs: Graphs, strip: Latents, levels: Levels, halo: number): Promise<Part[]> {
  const parts: Part[] = [{ values: Int32Array.from(strip.z.data), index: zIndex(graphs.artifact, levels) }];
  await eachGroup(graphs, strip, levels, halo, (start, index) => {
    const values = new Int32Array(index.length);
    each(strip, start, index.length, (from, to) => {
      const value = index[to] ? strip.r.data[from]! : 0;
      values[to] = Math.min(Math.max(value, -ESCAPE_LIMIT), ESCAPE_LIMIT);
    });
    keep(strip, start, values);
    parts.push({ values, index });
    return values;
  });
  return parts;
}

/** Walk the values of channels start ... of a strip: the place in whole cells, and the place in h x w. */
function each({ h, w, r }: Latents, start: number, length: number, visit: (from: number, to: number) => void): void {
  for (let to = 0, row = 0; to < length; row++) {
    const channel = start + Math.floor(row / h);
    let from = (channel * r.rows + (row % h)) * r.columns;
    for (const end = to + w; to < end;) visit(from++, to++);
  }
}

function keep(strip: Latents, start: number, values: Int32Array): void {
  each(strip, start, values.length, (from, to) => {
    strip.r.data[from] = values[to]!;
  });
}

function zIndex(artifact: Artifact, levels: Levels): Uint8Array {
  const channels = artifact.metadata.network.hyper_latents;
  const out = new Uint8Array(channels * levels.cells.length);
  for (let c = 0, at = 0; c < channels; c++)
    for (const level of levels.cells) out[at++] = artifact.zIndices[level * channels + c]!;
  return out;
}

/** The scale indices of every group, in order; take gives the residuals, which the next groups need. */
async function eachGroup(graphs: Graphs, strip: Latents, levels: Levels, halo: number, take: Take): Promise<void> {
  const { artifact } = graphs;
  const { groups, latents } = artifact.metadata.network;
  const { h, w, z, r } = strip;
  const pieces = spans(r.columns, halo);
  const features: Tensor[] = [];
  let start = 0;
  for (const [g, size] of groups.entries()) {
    const index = new Uint8Array(size * h * w);
    for (const [t, span] of pieces.entries()) {
      const inputs = g
        ? { features: features[t]!, r: tensor(r.cut(span.low, span.high, start)) }
        : { z_hat: tensor(z.cut(span.low / HYPER, span.high / HYPER)) };
      const outputs = await graphs.run(`scale${g}`, inputs);
      if (!g) features.push(outputs["features"]!);
      const found = outputs["index"]!.data;
      const columns = span.high - span.low;
      for (let c = 0; c < size; c++)
        for (let i = 0; i < h; i++)
          for (let j = span.start; j < Math.min(span.stop, w); j++) {
            const level = levels.positions[i * w + j]!;
            const value =
              found[(c * r.rows + i) * columns + j - span.low]! + artifact.offsets[level * latents + start + c]!;
            index[(c * h + i) * w + j] = Math.min(Math.max(value, 0), artifact.tables.length);
          }
    }
    take(start, index);
    start += size;
  }
}

/** A plane as a graph takes it. */
export function tensor(plane: Plane): Tensor {
  return { data: plane.data, dims: plane.dims };
}
