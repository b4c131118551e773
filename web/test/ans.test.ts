import assert from "node:assert/strict";
import { test } from "node:test";
import { AnsDecoder, AnsEncoder, Table, putPart, readPart } from "../src/ans.js";
import { Corrupt, ModelError } from "../src/errors.js";
import { numbers } from "./random.js";

/** The coder of docs/format.md as it stands there, with integers of any size. */
class Reference {
  state = 1n << 24n;
  words: bigint[] = [];

  put(frequency: number, start: number): void {
    const f = BigInt(frequency);
    if (this.state >= f << 40n) {
      this.words.push(this.state & 0xffffffffn);
      this.state >>= 32n;
    }
    this.state = ((this.state / f) << 24n) + (this.state % f) + BigInt(start);
  }

  finish(): Uint8Array {
    for (; this.state; this.state >>= 32n) this.words.push(this.state & 0xffffffffn);
    return new Uint8Array(Uint32Array.from(this.words, Number).buffer);
  }
}

/** A table with some very likely and some very unlikely symbols. */
function table(random: () => number, limit: number): Table {
  const n = 2 * limit + 2;
  const raw = Array.from({ length: n }, () => 1 + Math.floor(2 ** (random() * 18)));
  const sum = raw.reduce((a, b) => a + b, 0);
  const scaled = raw.map((f) => Math.max(1, Math.floor((f * (2 ** 24 - n)) / sum)));
  scaled[0]! += 2 ** 24 - scaled.reduce((a, b) => a + b, 0);
  return new Table(Uint32Array.from(scaled));
}

test("streams are those of exact integers, and symbols come back", () => {
  const random = numbers(1);
  for (const count of [0, 1, 2, 3, 50, 20000]) {
    const t = table(random, 1 + Math.floor(random() * 40));
    const symbols = Array.from({ length: count }, () => t.symbol(Math.floor(random() * 2 ** 24)));
    const [encoder, reference] = [new AnsEncoder(), new Reference()];
    for (const s of [...symbols].reverse()) {
      encoder.symbol(t, s);
      reference.put(t.frequencies[s]!, t.sums[s]!);
    }
    const bytes = encoder.finish();
    assert.deepEqual(bytes, reference.finish());
    const decoder = new AnsDecoder(bytes);
    assert.deepEqual(
      symbols.map(() => decoder.symbol(t)),
      symbols,
    );
    decoder.finish();
  }
});

test("parts come back, escapes included", () => {
  const random = numbers(2);
  const tables = [1, 3, 20].map((limit) => table(random, limit));
  const index = Uint8Array.from({ length: 5000 }, () => Math.floor(random() * 4));
  const values = Int32Array.from(index, (i) => (i ? Math.round((random() - 0.5) * 10 ** Math.floor(random() * 5)) : 0));
  const encoder = new AnsEncoder();
  putPart(encoder, tables, values, index);
  const decoder = new AnsDecoder(encoder.finish());
  assert.deepEqual(readPart(decoder, tables, index), values);
  decoder.finish();
});

test("no symbol is free", () => {
  const t = table(numbers(3), 4);
  const encoder = new AnsEncoder();
  for (let i = 0; i < 100; i++) encoder.symbol(t, 1);
  const decoder = new AnsDecoder(encoder.finish());
  assert.throws(() => {
    for (let i = 0; i < 1e6; i++) {
      decoder.symbol(t);
      decoder.check();
    }
  }, Corrupt);
});

test("streams that no writer makes are refused", () => {
  for (const words of [[], [0], [5, 0], [2 ** 24 - 1]])
    assert.throws(() => new AnsDecoder(new Uint8Array(Uint32Array.from(words).buffer)), Corrupt);
  assert.throws(() => new AnsDecoder(new Uint8Array(5)), Corrupt);
  const more = new AnsDecoder(new Uint8Array(Uint32Array.of(2 ** 24 + 1).buffer));
  assert.throws(() => more.finish(), Corrupt);
});

test("an escape must hold a value that the table has not", () => {
  const t = table(numbers(4), 4);
  for (const value of [3, -4, -32768]) {
    const encoder = new AnsEncoder();
    encoder.uniform(value + 32768);
    encoder.symbol(t, 9);
    assert.throws(() => readPart(new AnsDecoder(encoder.finish()), [t], Uint8Array.of(1)), Corrupt);
  }
});

test("a table must sum to 2^24", () => {
  assert.throws(() => new Table(Uint32Array.of(1, 2, 3, 4)), ModelError);
  assert.throws(() => new Table(Uint32Array.of(2 ** 24, 0, 0, 0)), ModelError);
});
