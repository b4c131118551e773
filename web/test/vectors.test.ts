/** spec/vectors: what a reader of the format finds in each file, the same for the Python package. Networks run in node. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { Artifact } from "../src/artifact.js";
import { COLOURS, inflated, pack, unpack } from "../src/container.js";
import { decodeLearned, decodeLossless, type Pixels } from "../src/decode.js";
import { DPCError, toPlain } from "../src/errors.js";
import { writeIndexed } from "../src/indexed.js";
import { configureLossless, readLossless } from "../src/lossless.js";
import { Graphs, configureRuntime } from "../src/runtime.js";
import { hasAlpha, isIndexed } from "../src/webp.js";

interface Valid {
  file: string;
  width: number;
  height: number;
  grey: boolean;
  colour: number;
  lossless: boolean;
  merged: boolean;
  model: string | null;
  level: number | null;
  chunks: Record<string, number>;
  channels: number;
  pixels: string;
}

interface Invalid {
  file: string;
  rule?: string;
  error: string;
  when?: "open" | "decode";
}

const root = join(process.cwd(), "..");
const folder = join(root, "spec/vectors");
const vectors = JSON.parse(readFileSync(join(folder, "vectors.json"), "utf8")) as {
  models: Record<string, string>;
  valid: Valid[];
  invalid: Invalid[];
  hostile: Invalid[];
};
const bytesOf = (file: string) => new Uint8Array(readFileSync(join(folder, file)));

configureRuntime({ threads: 1 });
const require = createRequire(import.meta.url);
configureLossless(async (name) => {
  const path = require.resolve(`@jsquash/webp/codec/${name.startsWith("webp_dec") ? "dec" : "enc"}/${name}`);
  return WebAssembly.compile(readFileSync(path));
});
const models = Object.values(vectors.models).map(
  (path) => new Graphs(new Artifact(new Uint8Array(readFileSync(join(root, path))))),
);

async function decode(bytes: Uint8Array): Promise<Pixels> {
  const file = unpack(bytes);
  if (file.icc) inflated(file.icc);
  const graphs = models.find(({ artifact }) => artifact.id === file.model) ?? models[0]!;
  return file.lossless ? decodeLossless(file) : decodeLearned(file, graphs, async () => {});
}

/** The bytes of a picture of so many channels. */
function channelsOf({ rgba }: Pixels, channels: number): Uint8Array {
  const kept = [[0], [0, 3], [0, 1, 2], [0, 1, 2, 3]][channels - 1]!;
  return Uint8Array.from({ length: (rgba.length / 4) * kept.length }, (_, i) => {
    return rgba[4 * Math.floor(i / kept.length) + kept[i % kept.length]!]!;
  });
}

const NAMES: Record<string, string> = { qualityMap: "quality_map", wideSmoothing: "wide_smoothing" };

for (const expected of vectors.valid)
  test(expected.file, async () => {
    const bytes = bytesOf(expected.file);
    const file = unpack(bytes);
    for (const name of ["width", "height", "grey", "lossless", "merged", "model", "level"] as const)
      assert.equal(file[name], expected[name], name);
    assert.equal(COLOURS.indexOf(file.colour), expected.colour);
    const chunks = Object.entries(file).filter(([, value]) => value instanceof Uint8Array);
    const sizes = chunks.map(([name, value]) => [NAMES[name] ?? name, (value as Uint8Array).length]);
    assert.deepEqual(Object.fromEntries(sizes), expected.chunks);
    const pixels = await decode(bytes);
    const alpha = file.lossless ? hasAlpha(file.body) : file.alpha !== undefined;
    assert.equal(expected.channels, (file.grey ? 1 : 3) + Number(alpha));
    const found = createHash("sha256").update(channelsOf(pixels, expected.channels)).digest("hex");
    assert.equal(found, expected.pixels);
    const few = [file.lossless ? file.body : undefined, file.overlay].find((body) => body && isIndexed(body));
    if (few) {
      const { rgba } = await readLossless(few, file.width, file.height);
      assert.deepEqual(writeIndexed(rgba, file.width, file.height), few, "written as Python writes it");
    }
    const again = pack(file);
    if (again.length === bytes.length)
      assert.deepEqual(again, bytes); // shorter: it had chunks that are not known
    else assert.ok(again.length < bytes.length);
  });

for (const { file, error, when, rule } of [...vectors.invalid, ...vectors.hostile])
  test(`${file}: ${rule ?? "hostile"}, ${error}`, async () => {
    const bytes = bytesOf(file);
    const begin = performance.now();
    const ends = async () => (when === "open" ? unpack(bytes) : decode(bytes));
    await assert.rejects(ends, (found: unknown) => {
      assert.ok(found instanceof DPCError, String(found));
      assert.equal(toPlain(found).name, error);
      assert.ok(!found.message.includes("\n"));
      return true;
    });
    assert.ok(performance.now() - begin < 60_000, "a hostile file ends soon");
  });

test("what is appended is named, and damage behind the header as damage", () => {
  const bytes = bytesOf("valid/everything.dpc");
  for (const more of [[0], [10], [5, 0], [0x90, 0], [...bytes]])
    assert.throws(() => unpack(Uint8Array.from([...bytes, ...more])), {
      name: "Corrupt",
      message: `the file has ${bytes.length + more.length} bytes, its picture ends after ${bytes.length}: something was appended; cut it off, or get the file again`,
    });
  for (let at = 14; at < bytes.length; at++) {
    const damaged = bytes.slice();
    damaged[at]! ^= 1 << (at % 8);
    assert.throws(
      () => unpack(damaged),
      (error: Error) =>
        error.message === "the checksum is not that of the content; the file is damaged, get it again" ||
        (error.name === "Truncated" && error.message.endsWith("; the file was cut short, get it again")),
    );
  }
});
