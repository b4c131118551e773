import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync, inflateSync } from "node:zlib";
import { joined } from "../src/bytes.js";
import { crc32 } from "../src/checksum.js";
import { Corrupt } from "../src/errors.js";
import { readGrey, writeGrey, writePicture } from "../src/png.js";
import { numbers } from "./random.js";

function chunk(type: string, data: Uint8Array): Uint8Array {
  const body = joined([new TextEncoder().encode(type), data]);
  const out = new DataView(new ArrayBuffer(8 + body.length));
  out.setUint32(0, data.length);
  new Uint8Array(out.buffer).set(body, 4);
  out.setUint32(4 + body.length, crc32(body));
  return new Uint8Array(out.buffer);
}

/** A PNG of 8 bits whose rows, their filters included, are given. */
function png(width: number, height: number, rows: Uint8Array, type = 0): Uint8Array {
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint8(8, 8);
  head.setUint8(9, type);
  return joined([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk("IHDR", new Uint8Array(head.buffer)),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", new Uint8Array()),
  ]);
}

test("opacities come back", () => {
  const random = numbers(1);
  const sizes = [
    [1, 1],
    [7, 5],
    [300, 2],
  ] as const;
  for (const [w, h] of sizes) {
    const values = Uint8Array.from({ length: w * h }, () => Math.floor(random() * 256));
    assert.deepEqual(readGrey(writeGrey(values, w, h), w, h), values);
  }
});

test("every filter is undone", () => {
  const pixels = [
    [10, 200, 30],
    [250, 5, 90],
    [1, 2, 3],
    [77, 66, 55],
    [9, 8, 7],
  ];
  const filtered = pixels.map((row, y) =>
    row.map((value, x) => {
      const left = x ? row[x - 1]! : 0;
      const up = y ? pixels[y - 1]![x]! : 0;
      const corner = x && y ? pixels[y - 1]![x - 1]! : 0;
      const p = left + up - corner;
      const near = [left, up, corner].reduce((a, b) => (Math.abs(p - b) < Math.abs(p - a) ? b : a));
      return (value - [0, left, up, (left + up) >> 1, near][y]!) & 255;
    }),
  );
  const rows = Uint8Array.from(filtered.flatMap((row, y) => [y, ...row]));
  assert.deepEqual(readGrey(png(3, 5, rows), 3, 5), Uint8Array.from(pixels.flat()));
});

test("a damaged section is refused", () => {
  const good = writeGrey(Uint8Array.of(1, 2, 3, 4, 5, 6), 3, 2);
  assert.throws(() => readGrey(good, 2, 3), Corrupt);
  for (let at = 0; at < good.length; at++) {
    assert.throws(() => readGrey(good.subarray(0, at), 3, 2), Corrupt, `cut at ${at}`);
    const bad = good.slice();
    bad[at]! ^= 1;
    assert.throws(() => readGrey(bad, 3, 2), Corrupt, `changed at ${at}`);
  }
  assert.throws(() => readGrey(png(3, 2, new Uint8Array(8), 2), 3, 2), Corrupt);
  assert.throws(() => readGrey(png(3, 2, new Uint8Array(7)), 3, 2), Corrupt);
  assert.throws(() => readGrey(png(3, 2, new Uint8Array(9)), 3, 2), Corrupt);
  assert.throws(() => readGrey(png(3, 2, Uint8Array.of(0, 1, 1, 1, 5, 1, 1, 1)), 3, 2), Corrupt);
});

test("a picture is a PNG of its pixels", () => {
  const rgba = Uint8ClampedArray.from({ length: 4 * 200 * 130 }, (_, i) => (i * 7) % 251);
  for (const alpha of [true, false]) {
    const bytes = writePicture(rgba, 200, 130, { alpha });
    const from = Buffer.from(bytes).indexOf("IDAT") + 4;
    const rows = inflateSync(bytes.subarray(from, -16));
    const channels = alpha ? 4 : 3;
    assert.equal(rows.length, 130 * (1 + 200 * channels));
    for (const i of [0, 199, 200, 25999]) {
      const at = Math.floor(i / 200) * (1 + 200 * channels) + 1 + (i % 200) * channels;
      assert.deepEqual([...rows.subarray(at, at + channels)], [...rgba.subarray(4 * i, 4 * i + channels)]);
    }
  }
});
