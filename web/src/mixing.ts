/**
 * Context mixing of pictures of few colours: probabilities of binary decisions, in exact arithmetic. docs/format.md,
 * "The indexed body", is the norm. All decisions of a round see the counts and weights from before it.
 */

const BAND = 64; // rows
const LAG = 3; // pixels by which a row follows the one above it
const MARGIN = 8; // pixels of colour 0 around what is known
/** [columns, rows] from the pixel to those of its contexts, the nearest first. */
const NEIGHBOURS = [
  ...[[-1, 0], [0, -1], [-1, -1], [1, -1], [-2, 0], [0, -2], [2, -1], [-2, -1], [1, -2]], // prettier-ignore
  ...[[-1, -2], [-3, 0], [-3, -1], [2, -2], [-2, -2], [0, -3], [-1, -3], [1, -3], [-4, 0]], // prettier-ignore
  ...[[3, -2], [-3, -2], [2, -3], [-2, -3], [-4, -1], [4, -2], [-5, 0], [3, -3]], // prettier-ignore
] as [number, number][];
const SIZES = [1, 3, 6, 10, 16, 26]; // neighbours that a context sees
const CONTEXTS = SIZES.length;
const SEEN_FROM = NEIGHBOURS.map((_, m) => SIZES.findIndex((size) => size > m)); // the first context that sees it
const SLOTS = 1048573; // of a context, a prime; contexts that fall on the same one share its counts
const MOST = 60; // a count is no larger
const MOST_FLAT = 65535; // of the two counts of a colour that all neighbours have, together
const ONE = 65536; // a probability of 1, and a weight of 1
const LEAST = 24; // no probability is smaller
const STEEP = 2047; // the largest logit, of 256 for a factor of e
const FIRST_WEIGHT = 19660;
const LARGEST_WEIGHT = 4 * ONE;
const SETS = 4; // of weights for a decision, by which contexts are known
const KINDS = 10; // of decisions, for the weights
const SLOW = 2 ** 15; // what the mixer's steps are divided by: neighbours
const FAST = 2 ** 13; // bits of the number
const FULL = 127; // within a round a count stops here: halved, it is still MOST
const HAPPENED = 128; // marks a count that grew in this round
const MARKS = HAPPENED | (HAPPENED << 8);

/** Takes the probability of 1, out of 2^16, and what is to be coded, for a writer; gives what is coded. */
export type Code = (p: number, wanted: number) => number;

interface Tables {
  logs: Int32Array;
  squash: Int32Array;
  /** Factors of the neighbours in each context, one context after the other, and of the decisions, modulo SLOTS. */
  contexts: Int32Array;
  decisions: Int32Array;
}

let made: Tables | null = null;

function tables(): Tables {
  if (made) return made;
  const logs = Int32Array.from({ length: MOST + 1 }, (_, n) => Math.round(256 * Math.log(5 * n + 2)));
  const squash = Int32Array.from({ length: 2 * STEEP + 1 }, (_, i) => {
    const p = Math.round(ONE / (1 + Math.exp((STEEP - i) / 256)));
    return Math.min(Math.max(p, LEAST), ONE - LEAST);
  });
  const numbers = new Int32Array(CONTEXTS * NEIGHBOURS.length + 258);
  for (let i = 0, state = 1; i < numbers.length; i++) {
    state = (state * 48271) % 2147483647;
    numbers[i] = state % SLOTS;
  }
  const decisions = numbers.slice(CONTEXTS * NEIGHBOURS.length);
  return (made = { logs, squash, contexts: numbers, decisions });
}

/** Counts and weights, and what a round of decisions makes of them. */
class Mixer {
  /** Of the pixels of a step: the number of a decision, what is wanted, what is coded. */
  readonly decision: Int32Array;
  readonly wanted: Uint8Array;
  readonly bits: Uint8Array;
  /** Of zeros, and of ones in the upper bytes. */
  private readonly counts = new Uint16Array(CONTEXTS * SLOTS);
  private readonly stayed = new Int32Array(256);
  private readonly left = new Int32Array(256);
  private readonly weights = new Int32Array(KINDS * SETS * CONTEXTS).fill(FIRST_WEIGHT);
  private readonly steps = new Float64Array(SETS * CONTEXTS);
  private readonly hashes: Int32Array;
  private readonly sums = new Float64Array(CONTEXTS);
  private readonly slots: Int32Array;
  private readonly logits: Int32Array;
  private readonly sets: Uint8Array;

  /** most: pixels of a step. */
  constructor(
    private readonly code: Code,
    most: number,
  ) {
    this.hashes = new Int32Array(CONTEXTS * most);
    this.decision = new Int32Array(most);
    this.wanted = new Uint8Array(most);
    this.bits = new Uint8Array(most);
    this.slots = new Int32Array(CONTEXTS * most);
    this.logits = new Int32Array(CONTEXTS * most);
    this.sets = new Uint8Array(most);
  }

  /** The contexts of pixel i of the step, before the factor of a decision; near: where its neighbours lie from `here`. */
  hash(i: number, plane: Uint8Array, here: number, near: Int32Array): void {
    const { hashes, sums } = this;
    const { contexts } = tables();
    sums.fill(0); // below 2^33; the quotients are exact
    for (let m = 0; m < near.length; m++) {
      const c = plane[here + near[m]!]!;
      if (c) for (let k = SEEN_FROM[m]!; k < CONTEXTS; k++) sums[k]! += contexts[NEIGHBOURS.length * k + m]! * c;
    }
    for (let k = 0; k < CONTEXTS; k++) hashes[CONTEXTS * i + k] = sums[k]! - Math.floor(sums[k]! / SLOTS) * SLOTS;
  }

  /** Whether the pixels of a list, each with neighbours of the one colour given, have another one. */
  leave(list: Int32Array, n: number, colours: Uint8Array): void {
    const { stayed, left, wanted, bits, code } = this;
    for (let j = 0; j < n; j++) {
      const i = list[j]!;
      const [s, l] = [stayed[colours[i]!]!, left[colours[i]!]!];
      const p = Math.floor((ONE * (2 * l + 1)) / (2 * (s + l) + 40));
      bits[i] = code(Math.min(Math.max(p, 1), ONE / 2), wanted[i]!);
    }
    for (let j = 0; j < n; j++) (bits[list[j]!] ? left : stayed)[colours[list[j]!]!]!++;
    for (let j = 0; j < n; j++) {
      const c = colours[list[j]!]!;
      if (stayed[c]! + left[c]! <= MOST_FLAT) continue;
      stayed[c]! >>= 1;
      left[c]! >>= 1;
    }
  }

  /** A round: one binary decision for each pixel of a list. kind: for the weights; divisor: of their steps. */
  decide(list: Int32Array, n: number, kind: number, divisor: number): void {
    const { wanted, bits, weights, steps, slots, logits, sets, code } = this;
    const { squash } = tables();
    const first = kind * SETS * CONTEXTS;
    // look up all of them first: the waits for memory run side by side
    for (let j = 0; j < n; j++) sets[j] = this.look(list[j]!, CONTEXTS * j);
    for (let j = 0; j < n; j++) {
      const at = CONTEXTS * j;
      const sums = CONTEXTS * sets[j]!;
      let u = 0; // 6 products of up to 2^18 and 1285: below 2^31
      for (let k = 0; k < CONTEXTS; k++) u += weights[first + sums + k]! * logits[at + k]!;
      const p = squash[Math.min(Math.max(u >> 16, -STEEP), STEEP) + STEEP]!;
      const bit = code(p, wanted[list[j]!]!);
      bits[list[j]!] = bit;
      const error = bit * ONE - p;
      for (let k = 0; k < CONTEXTS; k++) steps[sums + k]! += error * logits[at + k]!;
    }
    for (let at = 0; at < steps.length; at++) {
      const weight = weights[first + at]! + Math.floor(steps[at]! / divisor);
      weights[first + at] = Math.min(Math.max(weight, -LARGEST_WEIGHT), LARGEST_WEIGHT);
    }
    steps.fill(0);
    for (let j = 0; j < n; j++) this.count(CONTEXTS * j, bits[list[j]!]!);
    for (let at = 0; at < CONTEXTS * n; at++) this.settle(slots[at]!);
  }

  /** The set of weights of a pixel's decision; its slots and logits are kept. */
  private look(i: number, at: number): number {
    const { hashes, counts, slots, logits } = this;
    const { logs, decisions } = tables();
    const factor = decisions[this.decision[i]!]!;
    let known = 0;
    for (let k = 0; k < CONTEXTS; k++) {
      const sum = hashes[CONTEXTS * i + k]! + factor;
      const slot = k * SLOTS + (sum < SLOTS ? sum : sum - SLOTS);
      const pair = counts[slot]!;
      slots[at + k] = slot;
      logits[at + k] = logs[pair >> 8]! - logs[pair & 255]!;
      if (pair) known |= 1 << k;
    }
    return ((known >> 2) & 1) + ((known >> 4) & 1) + ((known >> 5) & 1);
  }

  /** Count a bit in its slots, and mark them. */
  private count(at: number, bit: number): void {
    const { slots, counts } = this;
    const shift = 8 * bit;
    for (let k = 0; k < CONTEXTS; k++) {
      const pair = counts[slots[at + k]!]!;
      const more = ((pair >> shift) & 127) < FULL ? 1 << shift : 0;
      counts[slots[at + k]!] = (pair + more) | (HAPPENED << shift);
    }
  }

  /** After all were counted: what did not happen is halved where something else did, once. */
  private settle(slot: number): void {
    const pair = this.counts[slot]!;
    if (!(pair & MARKS)) return;
    let [zeros, ones] = [pair & 127, (pair >> 8) & 127];
    if (zeros > 2 && (pair >> 8) & HAPPENED) zeros = (zeros >> 1) + 1;
    if (ones > 2 && pair & HAPPENED) ones = (ones >> 1) + 1;
    this.counts[slot] = Math.min(zeros, MOST) | (Math.min(ones, MOST) << 8);
  }
}

/**
 * The numbers of the pixels, row by row, as code tells them, or those known, that it is told. colours: 2 to 256; a number
 * may come out that is no colour's.
 */
export function run(height: number, width: number, colours: number, code: Code, known?: Uint8Array): Uint8Array {
  const depth = 32 - Math.clz32(colours - 1);
  const bands = Math.ceil(height / BAND);
  const tallest = Math.min(height, BAND);
  const stride = width + 2 * MARGIN;
  const plane = new Uint8Array(bands * (BAND + LAG) * stride);
  const offsets = Int32Array.from(NEIGHBOURS, ([across, down]) => down * stride + across);
  const most = bands * Math.min(tallest, Math.ceil(width / LAG));
  const mixer = new Mixer(code, most);
  const { decision, wanted, bits } = mixer;
  const [places, truth] = [new Int32Array(most), new Uint8Array(most)];
  const [left, above] = [new Uint8Array(most), new Uint8Array(most)];
  const list = () => new Int32Array(most);
  const [flat, edges, second, open] = [list(), list(), list(), list()] as const;

  for (let step = 0; step < width + LAG * (tallest - 1); step++) {
    const begun = Math.min(tallest - 1, Math.floor(step / LAG));
    let [n, flats, rest] = [0, 0, 0];
    for (let j = Math.max(0, Math.ceil((step - width + 1) / LAG)); j <= begun; j++)
      for (let row = j; row < height; row += BAND, n++) {
        const x = step - LAG * j;
        const here = (Math.floor(row / BAND) * (BAND + LAG) + LAG + j) * stride + MARGIN + x;
        const c = plane[here - 1]!;
        places[n] = here;
        left[n] = c;
        above[n] = plane[here - stride]!;
        if (known) truth[n] = known[row * width + x]!;
        wanted[n] = Number(truth[n] !== c);
        bits[n] = 0;
        let k = 1;
        while (k < offsets.length && plane[here + offsets[k]!] === c) k++;
        if (k === offsets.length) flat[flats++] = n;
        else {
          edges[rest++] = n;
          mixer.hash(n, plane, here, offsets);
          decision[n] = 0;
        }
      }
    if (flats) mixer.leave(flat, flats, left);
    if (rest) {
      mixer.decide(edges, rest, 0, SLOW);
      let seconds = 0;
      for (let j = 0; j < rest; j++) {
        const i = edges[j]!;
        if (!bits[i] || left[i] === above[i]) continue;
        second[seconds++] = i;
        wanted[i] = Number(truth[i] !== above[i]);
        decision[i] = 1;
        left[i] = above[i]!;
      }
      if (seconds) mixer.decide(second, seconds, 1, SLOW);
    }
    // left is what is found so far
    let opens = 0;
    for (let j = 0, f = 0; j < n; j++) {
      const isFlat = f < flats && flat[f] === j;
      if (isFlat) f++;
      if (!bits[j]) continue;
      open[opens++] = j;
      if (isFlat) mixer.hash(j, plane, places[j]!, offsets);
      decision[j] = 2;
    }
    if (opens) numbers(mixer, open, opens, depth, truth, left);
    for (let j = 0; j < n; j++) plane[places[j]!] = left[j]!;
  }

  const out = new Uint8Array(height * width);
  for (let row = 0; row < height; row++) {
    const at = (Math.floor(row / BAND) * (BAND + LAG) + LAG + (row % BAND)) * stride + MARGIN;
    out.set(plane.subarray(at, at + width), row * width);
  }
  return out;
}

/** The bits of the numbers of a list's pixels, the highest first, into found. Decision 1 + m is that of node m. */
function numbers(mixer: Mixer, list: Int32Array, n: number, depth: number, truth: Uint8Array, found: Uint8Array): void {
  const { decision, wanted, bits } = mixer;
  for (let bit = depth - 1; bit >= 0; bit--) {
    for (let j = 0; j < n; j++) wanted[list[j]!] = (truth[list[j]!]! >> bit) & 1;
    mixer.decide(list, n, 2 + bit, FAST);
    for (let j = 0; j < n; j++) {
      const i = list[j]!;
      decision[i] = 2 * (decision[i]! - 1) + bits[i]! + 1;
    }
  }
  for (let j = 0; j < n; j++) found[list[j]!] = decision[list[j]!]! - 1 - (1 << depth);
}
