import assert from "node:assert/strict";
import { test } from "node:test";
import { Corrupt, DPCError, ModelError, OptionError, TooLarge, Truncated, fromPlain, toPlain } from "../src/errors.js";
import { cover } from "../src/hidden.js";
import { spans } from "../src/geometry.js";
import { halfToFloat, readNpy } from "../src/npy.js";
import { fieldsOf, messageOf, numberOf } from "../src/protobuf.js";
import { levelsOf, readMap, writeMap } from "../src/quality_map.js";
import { candidates, slotWidth } from "../src/srcset.js";
import { bodyOf, streamsOf } from "../src/stream.js";
import { checkTarget } from "../src/target.js";
import { numbers } from "./random.js";

test("errors keep their class across the worker", () => {
  for (const error of [new Corrupt("a"), new Truncated("b"), new TooLarge("c"), new ModelError("d")]) {
    const back = fromPlain(structuredClone(toPlain(error)));
    assert.equal(back.constructor, error.constructor);
    assert.equal(back.message, error.message);
    assert.ok(back instanceof DPCError);
  }
  assert.equal(fromPlain({ name: "AbortError", message: "x" }).name, "AbortError");
});

test("16-bit floats are read exactly", () => {
  const bits = [0, 0x3c00, 0xc000, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x7c00];
  const expected = [0, 1, -2, 2 ** -24, 1023 * 2 ** -24, 2 ** -14, 65504, Infinity];
  assert.deepEqual([...halfToFloat(Uint16Array.from(bits))], expected);
});

test("an array of numpy is read, and a cut one refused", () => {
  const header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }".padEnd(117) + "\n";
  const start = Buffer.from([0x93, 78, 85, 77, 80, 89, 1, 0, 118, 0]);
  const bytes = Buffer.concat([start, Buffer.from(header), Buffer.from(Int16Array.of(1, -2, 3, 4, 5, 6).buffer)]);
  const array = readNpy("x", new Uint8Array(bytes));
  assert.deepEqual(array.shape, [2, 3]);
  assert.deepEqual([...array.values], [1, -2, 3, 4, 5, 6]);
  assert.throws(() => readNpy("x", new Uint8Array(bytes.subarray(0, -1))), ModelError);
  assert.throws(() => readNpy("x", new Uint8Array(5)), ModelError);
});

test("a message of protocol buffers is taken apart and put together", () => {
  const bytes = Uint8Array.of(0x08, 0x96, 0x01, 0x12, 0x03, 1, 2, 3, 0x1d, 1, 2, 3, 4);
  const fields = fieldsOf(bytes);
  assert.deepEqual(
    fields.map((f) => f.number),
    [1, 2, 3],
  );
  assert.equal(numberOf(fields[0]!.payload), 150);
  assert.deepEqual(messageOf(fields), bytes);
  assert.throws(() => fieldsOf(bytes.subarray(0, 6)), ModelError);
});

test("a quality map comes back, and levels follow from it", () => {
  const random = numbers(5);
  const map = { rows: 3, columns: 5, deltas: Int8Array.from({ length: 15 }, () => Math.floor(random() * 17) - 8) };
  assert.deepEqual(readMap(writeMap(map), 11, 18), map);
  const flat = { ...map, deltas: new Int8Array(15).fill(2) };
  assert.deepEqual([...new Set(levelsOf(flat, 100, 448, 0, 11, 18).positions)], [132]);
  assert.deepEqual([...new Set(levelsOf(flat, 440, 448, 0, 11, 18).positions)], [448]);
  assert.deepEqual([...new Set(levelsOf(null, 100, 448, 0, 11, 18).positions)], [100]);
  const step = { rows: 1, columns: 2, deltas: Int8Array.of(0, 8) };
  // floor((sum + 2) / 4), where the weights of a position sum to 64
  assert.deepEqual([...levelsOf(step, 0, 448, 0, 4, 8).positions.subarray(0, 8)], [0, 0, 16, 48, 80, 112, 128, 128]);
  assert.throws(() => readMap(new Uint8Array(4), 4000, 4000), Corrupt);
});

test("the table of strips", () => {
  const streams = [Uint8Array.of(1, 2, 3, 4), new Uint8Array(4 * 300).fill(7), Uint8Array.of(9, 9, 9, 9)];
  assert.deepEqual(streamsOf(bodyOf(streams), 3), streams);
  assert.deepEqual(bodyOf(streams.slice(0, 1)), streams[0]);
  for (const body of [[], [0, 1], [0x80, 0, 1], [0x80, 0x80, 0x80, 0x80, 1], [5, 1, 2, 3]])
    assert.throws(() => streamsOf(Uint8Array.from(body), 2), Corrupt);
});

test("pieces cover a side once, and see their halo", () => {
  for (let n = 4; n < 500; n += 4) {
    let next = 0;
    for (const { start, stop, low, high } of spans(n, 8)) {
      assert.equal(start, next);
      assert.ok(low <= Math.max(0, start - 8) && high >= Math.min(n, stop + 8) && low % 4 === 0);
      next = stop;
    }
    assert.equal(next, n);
  }
});

test("srcset and sizes", () => {
  assert.deepEqual(candidates("a.dpc, b.dpc 2x,c,d.dpc 640w , e.dpc nonsense"), [
    { address: "a.dpc", density: 1 },
    { address: "b.dpc", density: 2 },
    { address: "c,d.dpc", width: 640 },
  ]);
  const wide = (media: string) => media === "(min-width: 600px)";
  assert.equal(slotWidth("(max-width: 100px) 10px, (min-width: 600px) 50vw, 100vw", wide, 1000), 500);
  assert.equal(
    slotWidth("(max-width: 100px) 10px, 100vw", () => false, 1000),
    1000,
  );
  assert.equal(slotWidth(null, wide, 320), 320);
});

test("targets out of range are refused", () => {
  for (const target of [{ quality: 0 }, { quality: NaN }, { bpp: 0 }, { maxBytes: 0.5 }, { quality: 4, bpp: 1 }])
    assert.throws(() => checkTarget(target), OptionError);
  checkTarget({ quality: 100, bpp: undefined });
});

test("nothing is left under opacity 0", () => {
  const random = numbers(6);
  const [w, h] = [13, 9];
  const one = Uint8ClampedArray.from({ length: 4 * w * h }, (_, i) =>
    i % 4 === 3 ? (random() < 0.4 ? 0 : 200) : Math.floor(random() * 256),
  );
  const other = one.map((x, i) => (one[i | 3] || i % 4 === 3 ? x : 255 - x)); // other colours where nobody sees them
  const before = one.slice();
  cover(one, w, h);
  cover(other, w, h);
  assert.deepEqual(one, other);
  for (let i = 0; i < one.length; i++) if (before[i | 3]) assert.equal(one[i], before[i]);
  const clear = new Uint8ClampedArray(4 * 6).fill(7).map((x, i) => (i % 4 === 3 ? 0 : x));
  cover(clear, 3, 2);
  assert.deepEqual([...clear.subarray(0, 4)], [128, 128, 128, 0]);
});
