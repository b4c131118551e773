/**
 * The entropy coder of docs/format.md, "Coder": an asymmetric numeral system with a 64-bit state, 32-bit words and
 * 24-bit tables. The state is kept as two halves of 32 bits, and every product is split so that no intermediate
 * reaches 2^53: exact, and three times as fast as BigInt (npm run bench).
 */
import { Corrupt, ModelError } from "./errors.js";

export const PRECISION = 24;
export const ESCAPE_LIMIT = 32767;
const BIAS = 32768;
const TOTAL = 2 ** PRECISION;
const WORD = 2 ** 32;

/** A probability table. Those of models have symbols 0 ... 2 K for the values -K ... K, and a last one for the escape. */
export class Table {
  readonly limit: number;
  readonly sums: Uint32Array;
  /** Bits of the likeliest symbol. */
  readonly least: number;
  readonly bits: Float64Array;
  private readonly coarse: Uint16Array;

  constructor(readonly frequencies: Uint32Array) {
    const n = frequencies.length;
    this.limit = Math.floor(n / 2) - 1;
    this.sums = new Uint32Array(n + 1);
    for (let i = 0; i < n; i++) this.sums[i + 1] = this.sums[i]! + frequencies[i]!;
    if (this.sums[n] !== TOTAL || frequencies.includes(0) || frequencies.reduce((a, b) => a + b, 0) !== TOTAL)
      throw new ModelError(`the frequencies of a table do not sum to 2^${PRECISION}; fetch the model again`);
    this.bits = Float64Array.from(frequencies, (f) => PRECISION - Math.log2(f));
    this.least = this.bits.reduce((a, b) => Math.min(a, b));
    this.bits[n - 1]! += 16;
    // for each 2^16 slots the symbol of the first: the search begins there
    this.coarse = new Uint16Array(256);
    for (let i = 0, s = 0; i < 256; i++) {
      while (this.sums[s + 1]! <= i * 65536) s++;
      this.coarse[i] = s;
    }
  }

  /** The symbol whose slots hold this one. */
  symbol(slot: number): number {
    let s = this.coarse[slot >>> 16]!;
    while (this.sums[s + 1]! <= slot) s++;
    return s;
  }
}

/** Reads symbols from a stream. Corrupt for a stream that no writer makes. */
export class AnsDecoder {
  private high = 0;
  private low = 0;
  private next: number;
  private readonly words: DataView;

  /** title: what an error calls the stream. */
  constructor(
    bytes: Uint8Array,
    private readonly title = "a stream",
  ) {
    if (bytes.length % 4 || !bytes.length)
      throw new Corrupt(`${title} has ${bytes.length} bytes, not a positive multiple of 4; the file is damaged`);
    this.words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.next = bytes.length;
    if (this.words.getUint32(this.next - 4, true) === 0)
      throw new Corrupt(`${title} ends in a zero word; the file is damaged`);
    while (this.high === 0 && this.next) this.refill();
    this.check();
  }

  /** Corrupt when the stream has run empty: below 2^24 symbols are free, and the state never rises again. */
  check(): void {
    if (this.high === 0 && this.low < TOTAL)
      throw new Corrupt(`${this.title} ends before its part of the picture; the file is damaged`);
  }

  /** Corrupt unless exactly everything was read. */
  finish(): void {
    if (this.next || this.high || this.low !== TOTAL)
      throw new Corrupt(`${this.title} holds more than its part of the picture; the file is damaged`);
  }

  /** The next symbol under a table. */
  symbol(table: Table): number {
    const slot = this.low & 0xffffff;
    const s = table.symbol(slot);
    this.advance(table.frequencies[s]!, slot - table.sums[s]!);
    return s;
  }

  /** The next of 65536 equally likely values. */
  uniform(): number {
    const slot = this.low & 0xffffff;
    this.advance(256, slot & 255);
    return slot >>> 8;
  }

  /** The next binary decision. ones: the frequency of 1, 1 to 2^24 - 1; the slots of 0 come first. */
  bit(ones: number): number {
    const slot = this.low & 0xffffff;
    const zeros = TOTAL - ones;
    if (slot < zeros) {
      this.advance(zeros, slot);
      return 0;
    }
    this.advance(ones, slot - zeros);
    return 1;
  }

  /** state = frequency * floor(state / 2^24) + rest */
  private advance(frequency: number, rest: number): void {
    const quotient = ((this.high << 8) | (this.low >>> 24)) >>> 0;
    const lower = frequency * (quotient & 0xffff) + rest;
    const upper = frequency * (quotient >>> 16);
    const carry = Math.floor(upper / 65536);
    const low = lower + (upper - carry * 65536) * 65536;
    this.low = low >>> 0;
    this.high = (Math.floor(low / WORD) + carry + frequency * (this.high >>> 24)) >>> 0;
    if (this.high === 0 && this.next) this.refill();
  }

  private refill(): void {
    this.next -= 4;
    this.high = this.low;
    this.low = this.words.getUint32(this.next, true);
  }
}

/** Writes symbols, the last one first. */
export class AnsEncoder {
  private high = 0;
  private low = TOTAL;
  private words = new Uint32Array(1024);
  private count = 0;

  /** Put a symbol of this frequency whose slots begin at `start` before all that were put already. */
  put(frequency: number, start: number): void {
    // state >= 2^40 frequency: the upper half is at least 2^8 frequency
    if (this.high >= frequency * 256) {
      this.word(this.low);
      this.low = this.high;
      this.high = 0;
    }
    // long division of the state by the frequency, 16 bits at a time; every part stays below 2^41
    let rest = this.high % frequency;
    const quotientHigh = Math.floor(this.high / frequency);
    const a = rest * 65536 + (this.low >>> 16);
    rest = a % frequency;
    const b = rest * 65536 + (this.low & 0xffff);
    rest = b % frequency;
    const low = Math.floor(a / frequency) * 65536 + Math.floor(b / frequency);
    // state = 2^24 quotient + rest + start; quotient < 2^40
    this.low = ((low << 24) | (rest + start)) >>> 0;
    this.high = ((quotientHigh << 24) | (low >>> 8)) >>> 0;
  }

  /** Put a table's symbol. */
  symbol(table: Table, s: number): void {
    this.put(table.frequencies[s]!, table.sums[s]!);
  }

  /** Put a binary decision. ones: the frequency of 1. */
  bit(ones: number, bit: number): void {
    if (bit) this.put(ones, TOTAL - ones);
    else this.put(TOTAL - ones, 0);
  }

  /** Put one of 65536 equally likely values. */
  uniform(value: number): void {
    this.put(256, value * 256);
  }

  /** The bytes of the stream. */
  finish(): Uint8Array {
    this.word(this.low);
    if (this.high) this.word(this.high);
    const out = new DataView(new ArrayBuffer(this.count * 4));
    for (let i = 0; i < this.count; i++) out.setUint32(4 * i, this.words[i]!, true);
    return new Uint8Array(out.buffer);
  }

  private word(value: number): void {
    if (this.count === this.words.length) {
      const wider = new Uint32Array(2 * this.count);
      wider.set(this.words);
      this.words = wider;
    }
    this.words[this.count++] = value;
  }
}

/** An order of elements: those of index 1, then 2, ...; within an index as they lie. Elements of index 0 are left out. */
function byIndex(indices: Uint8Array, kinds: number): { order: Uint32Array; counts: Uint32Array } {
  const counts = new Uint32Array(kinds);
  for (const i of indices) counts[i]!++;
  const starts = new Uint32Array(kinds);
  for (let i = 2; i < kinds; i++) starts[i] = starts[i - 1]! + counts[i - 1]!;
  const order = new Uint32Array(indices.length - counts[0]!);
  for (let at = 0; at < indices.length; at++) {
    const i = indices[at]!;
    if (i) order[starts[i]!++] = at;
  }
  return { order, counts };
}

/** tables[i - 1] is the table of scale index i; index 0 stands for "always zero, not coded". */
export type Tables = readonly Table[];

/** The next part of a stream: a value for each index. */
export function readPart(decoder: AnsDecoder, tables: Tables, indices: Uint8Array): Int32Array {
  const values = new Int32Array(indices.length);
  const { order, counts } = byIndex(indices, tables.length + 1);
  const escapes: number[] = [];
  let at = 0;
  for (let i = 1; i <= tables.length; i++) {
    const table = tables[i - 1]!;
    const escape = 2 * table.limit + 1;
    for (const end = at + counts[i]!; at < end; at++) {
      const s = decoder.symbol(table);
      if (s === escape) escapes.push(order[at]!);
      else values[order[at]!] = s - table.limit;
    }
    decoder.check();
  }
  for (const where of escapes) {
    const value = decoder.uniform() - BIAS;
    decoder.check();
    if (Math.abs(value) <= tables[indices[where]! - 1]!.limit || value < -ESCAPE_LIMIT)
      throw new Corrupt("an escape holds a value that its table has, or one out of range; the file is damaged");
    values[where] = value;
  }
  return values;
}

/** Put a part before all that were put already: parts are put last part first. */
export function putPart(encoder: AnsEncoder, tables: Tables, values: Int32Array, indices: Uint8Array): void {
  const { order } = byIndex(indices, tables.length + 1);
  const escapes = order.filter((at) => Math.abs(values[at]!) > tables[indices[at]! - 1]!.limit);
  for (const at of escapes.reverse()) encoder.uniform(values[at]! + BIAS);
  for (const at of order.reverse()) {
    const table = tables[indices[at]! - 1]!;
    const value = values[at]!;
    encoder.symbol(table, Math.abs(value) > table.limit ? 2 * table.limit + 1 : value + table.limit);
  }
}

/** Bits that the values take under the tables. */
export function bitsOf(tables: Tables, values: Int32Array, indices: Uint8Array): number {
  let total = 0;
  for (let at = 0; at < indices.length; at++) {
    if (!indices[at]) continue;
    const table = tables[indices[at]! - 1]!;
    const value = values[at]!;
    total += table.bits[Math.abs(value) > table.limit ? 2 * table.limit + 1 : value + table.limit]!;
  }
  return total;
}
