/**
 * Context mixing for Python, in WebAssembly: what src/dpc/codec/mixing.py computes with numpy, and web/src/mixing.ts in
 * browsers, in integers alone and ten times as fast as numpy or faster. docs/format.md, "The indexed body", is the norm.
 * AssemblyScript: `npm run wasm` compiles it to src/dpc/codec/mixing.wasm, which is kept with the sources.
 *
 * The caller writes the tables and the picture or the stream into the memory at the places that `reserve` and the
 * exported constants name. Nothing here is checked but what a stream can break: the caller vouches for sizes.
 */

const BAND: i32 = 64; // rows
const LAG: i32 = 3; // pixels by which a row follows the one above it
const MARGIN: i32 = 8; // pixels of colour 0 around what is known
const CONTEXTS: i32 = 6;
const NEIGHBOURS: i32 = 26;
const SLOTS: i32 = 1048573; // of a context
const MOST: i32 = 60; // a count is no larger
const MOST_FLAT: i32 = 65535;
const ONE: i32 = 65536;
const STEEP: i32 = 2047;
const FIRST_WEIGHT: i32 = 19660;
const LARGEST_WEIGHT: i32 = 4 * ONE;
const SETS: i32 = 4;
const KINDS: i32 = 10;
const SLOW: i64 = 15; // bits by which the mixer's steps are shifted
const FAST: i64 = 13;
const FULL: i32 = 127; // within a round a count stops here: halved, it is still MOST
const HAPPENED: i32 = 128; // marks a count that grew in this round
const MARKS: i32 = HAPPENED | (HAPPENED << 8);
const TOTAL: u64 = 1 << 24;
const OFF: i32 = 16 * 24 * 24; // sixteenths of a squared level: a pixel shown in another colour is off by no more

/** Tables that the caller writes: int32, one after the other; the factors are taken modulo SLOTS. */
export const LOGS: i32 = 1024; // 61
export const SQUASH: i32 = LOGS + 4 * 64; // 4095
export const FACTORS: i32 = SQUASH + 4 * 4096; // 6 x 26, of the neighbours in each context
export const DECISIONS: i32 = FACTORS + 4 * CONTEXTS * NEIGHBOURS; // 258
export const ACROSS: i32 = DECISIONS + 4 * 260; // 26, columns from a pixel to its neighbours
export const DOWN: i32 = ACROSS + 4 * NEIGHBOURS; // 26, rows
export const SIZES: i32 = DOWN + 4 * NEIGHBOURS; // 6, neighbours that a context sees
export const COSTS: i32 = SIZES + 4 * 8; // 4097, of probabilities in sixteenths, in 256ths of a bit
export const PALETTE: i32 = COSTS + 4 * 4100; // int16, 256 x 4: the colours as they are compared, and nothing

const OFFSETS: i32 = PALETTE + 8 * 256; // 26, from a pixel to its neighbours in the plane
const STAYED: i32 = OFFSETS + 4 * 32; // 256
const LEFT: i32 = STAYED + 4 * 256; // 256
const WEIGHTS: i32 = LEFT + 4 * 256; // KINDS x SETS x CONTEXTS
const STEPS: i32 = (WEIGHTS + 4 * KINDS * SETS * CONTEXTS + 7) & ~7; // SETS x CONTEXTS, int64
const COUNTS: i32 = STEPS + 8 * SETS * CONTEXTS; // CONTEXTS x SLOTS, uint16: of zeros, and of ones in the upper bytes

// where the arrays of a picture lie; those of a step have `most` elements
let most: i32 = 0;
let hashes: i32 = 0; // int32, CONTEXTS each
let slots: i32 = 0;
let logits: i32 = 0;
let decision: i32 = 0; // int32
let places: i32 = 0;
let flat: i32 = 0;
let edges: i32 = 0;
let second: i32 = 0;
let open: i32 = 0;
let sets: i32 = 0; // uint8
let wanted: i32 = 0;
let bits: i32 = 0;
let truth: i32 = 0;
let found: i32 = 0;
let above: i32 = 0;
let plane: i32 = 0;
let planeSize: i32 = 0;
let pixels: i32 = 0;
let stream: i32 = 0;

// the coder
let writing: bool = false;
let choosing: bool = false;
let price: i64 = 0; // of a bit, in squared levels
let state: u64 = 0;
let next: i32 = 0;
let count: i32 = 0;
let broken: bool = false;

/** Takes memory for a picture and a stream of so many bytes; 0 where there is none. */
export function reserve(height: i32, width: i32, bytes: i32): i32 {
  const bands = (height + BAND - 1) / BAND;
  const tallest = min(height, BAND);
  most = bands * min(tallest, (width + LAG - 1) / LAG);
  let at = COUNTS + 2 * CONTEXTS * SLOTS;
  at = (at + 7) & ~7;
  hashes = at;
  slots = hashes + 4 * CONTEXTS * most;
  logits = slots + 4 * CONTEXTS * most;
  decision = logits + 4 * CONTEXTS * most;
  places = decision + 4 * most;
  flat = places + 4 * most;
  edges = flat + 4 * most;
  second = edges + 4 * most;
  open = second + 4 * most;
  sets = open + 4 * most;
  wanted = sets + most;
  bits = wanted + most;
  truth = bits + most;
  found = truth + most;
  above = found + most;
  plane = above + most;
  planeSize = bands * (BAND + LAG) * (width + 2 * MARGIN);
  pixels = plane + planeSize;
  stream = (pixels + height * width + 7) & ~7;
  return grow(stream + bytes) ? 1 : 0;
}

/** Where the numbers of the pixels are, uint8, row by row. */
export function pixelsAt(): i32 {
  return pixels;
}

/** Where the words of a stream, or what is to be coded, are: uint32. */
export function streamAt(): i32 {
  return stream;
}

/** Reads the numbers of the pixels from a stream of so many words. 0: done; 1: no writer makes such a stream. */
export function decode(height: i32, width: i32, colours: i32, words: i32): i32 {
  writing = false;
  broken = false;
  state = 0;
  next = words;
  while (state >> 32 == 0 && next > 0) refill();
  run(height, width, colours);
  return broken || next != 0 || state != TOTAL ? 1 : 0;
}

/** What codes the numbers of the pixels: decisions, each twice the probability of 1 and the bit. Their count, or -1. */
export function encode(height: i32, width: i32, colours: i32): i32 {
  writing = true;
  broken = false;
  count = 0;
  run(height, width, colours);
  return broken ? -1 : count;
}

/**
 * Shows the pixels in cheaper colours, in place: the error that is added is weighed against the bits that are saved.
 * The caller writes PALETTE, and where a stream lies int16 four by four: a pixel's colour, and whether its number stays.
 * price: of a bit, in squared levels. 0: done; 1: no memory.
 */
export function choose(height: i32, width: i32, colours: i32, cost: i32): i32 {
  writing = true;
  choosing = true;
  broken = false;
  price = cost;
  run(height, width, colours);
  choosing = false;
  return broken ? 1 : 0;
}

function grow(end: i32): bool {
  const pages = <i32>((<u32>end + 65535) >> 16) - memory.size();
  return pages <= 0 || memory.grow(pages) >= 0;
}

function refill(): void {
  next--;
  state = (state << 32) | load<u32>(stream + 4 * next);
}

/** Codes a decision; p: the probability of 1, out of ONE. */
function code(p: i32, bit: i32): i32 {
  if (choosing) return bit;
  if (writing) {
    if (count % 1024 == 0 && !grow(stream + 4 * (count + 1024))) broken = true;
    if (broken) return bit;
    store<u32>(stream + 4 * count, 2 * p + bit);
    count++;
    return bit;
  }
  if (state < TOTAL) broken = true;
  if (broken) return 0;
  const ones = (<u64>p) << 8;
  const zeros = TOTAL - ones;
  const slot = state & (TOTAL - 1);
  const one = slot >= zeros;
  state = one ? ones * (state >> 24) + slot - zeros : zeros * (state >> 24) + slot;
  if (state >> 32 == 0 && next > 0) refill();
  return one ? 1 : 0;
}

function int(array: i32, i: i32): i32 {
  return load<i32>(array + 4 * i);
}

function put(array: i32, i: i32, value: i32): void {
  store<i32>(array + 4 * i, value);
}

function byte(array: i32, i: i32): i32 {
  return load<u8>(array + i);
}

function putByte(array: i32, i: i32, value: i32): void {
  store<u8>(array + i, value);
}

/** The contexts of pixel i of the step, before the factor of a decision. */
function hash(i: i32): void {
  const here = int(places, i);
  for (let k = 0; k < CONTEXTS; k++) {
    let sum: i64 = 0;
    const seen = int(SIZES, k);
    for (let m = 0; m < seen; m++)
      sum += <i64>int(FACTORS, NEIGHBOURS * k + m) * <i64>load<u8>(plane + here + int(OFFSETS, m));
    put(hashes, CONTEXTS * i + k, <i32>(sum % SLOTS));
  }
}

/** The probability that a pixel with neighbours of the one colour c has another one, out of ONE. */
function leaving(c: i32): i32 {
  const left = int(LEFT, c);
  const p = <i32>((<i64>ONE * (2 * left + 1)) / (2 * (int(STAYED, c) + left) + 40));
  return min(max(p, 1), ONE / 2);
}

/** Whether the pixels of `flat`, each with neighbours of the one colour in `found`, have another one. */
function leave(n: i32): void {
  for (let j = 0; j < n; j++) {
    const i = int(flat, j);
    const c = byte(found, i);
    putByte(bits, i, code(leaving(c), byte(wanted, i)));
  }
  for (let j = 0; j < n; j++) {
    const i = int(flat, j);
    const which = byte(bits, i) ? LEFT : STAYED;
    put(which, byte(found, i), int(which, byte(found, i)) + 1);
  }
  for (let j = 0; j < n; j++) {
    const c = byte(found, int(flat, j));
    if (int(STAYED, c) + int(LEFT, c) <= MOST_FLAT) continue;
    put(STAYED, c, int(STAYED, c) >> 1);
    put(LEFT, c, int(LEFT, c) >> 1);
  }
}

/** A round: one binary decision for each pixel of a list. kind: for the weights; shift: of their steps. */
function decide(list: i32, n: i32, kind: i32, shift: i64): void {
  const weights = WEIGHTS + 4 * kind * SETS * CONTEXTS;
  for (let j = 0; j < n; j++) putByte(sets, j, look(int(list, j), CONTEXTS * j));
  for (let j = 0; j < n; j++) {
    const at = CONTEXTS * j;
    const first = CONTEXTS * byte(sets, j);
    const p = mixed(weights + 4 * first, at);
    const bit = code(p, byte(wanted, int(list, j)));
    putByte(bits, int(list, j), bit);
    const error: i64 = bit * ONE - p;
    for (let k = 0; k < CONTEXTS; k++) {
      const step = STEPS + 8 * (first + k);
      store<i64>(step, load<i64>(step) + error * int(logits, at + k));
    }
  }
  for (let at = 0; at < SETS * CONTEXTS; at++) {
    const weight = <i64>int(weights, at) + (load<i64>(STEPS + 8 * at) >> shift);
    put(weights, at, <i32>min(max(weight, -LARGEST_WEIGHT), LARGEST_WEIGHT));
    store<i64>(STEPS + 8 * at, 0);
  }
  for (let j = 0; j < n; j++) tally(CONTEXTS * j, byte(bits, int(list, j)));
  for (let at = 0; at < CONTEXTS * n; at++) settle(int(slots, at));
}

/** The probability of 1 by weights and the logits of a pixel, from `at` on. */
function mixed(weights: i32, at: i32): i32 {
  let u: i64 = 0;
  for (let k = 0; k < CONTEXTS; k++) u += <i64>int(weights, k) * int(logits, at + k);
  return int(SQUASH, <i32>min(max(u >> 16, -STEEP), STEEP) + STEEP);
}

/** The set of weights of a pixel's decision; its slots and logits are kept. */
function look(i: i32, at: i32): i32 {
  const factor = int(DECISIONS, int(decision, i));
  let known = 0;
  for (let k = 0; k < CONTEXTS; k++) {
    const sum = int(hashes, CONTEXTS * i + k) + factor;
    const slot = k * SLOTS + (sum < SLOTS ? sum : sum - SLOTS);
    const pair = <i32>load<u16>(COUNTS + 2 * slot);
    put(slots, at + k, slot);
    put(logits, at + k, int(LOGS, pair >> 8) - int(LOGS, pair & 255));
    if (pair) known |= 1 << k;
  }
  return ((known >> 2) & 1) + ((known >> 4) & 1) + ((known >> 5) & 1);
}

/** Counts a bit in its slots, and marks them. */
function tally(at: i32, bit: i32): void {
  const shift = 8 * bit;
  for (let k = 0; k < CONTEXTS; k++) {
    const slot = COUNTS + 2 * int(slots, at + k);
    const pair = <i32>load<u16>(slot);
    const more = ((pair >> shift) & 127) < FULL ? 1 << shift : 0;
    store<u16>(slot, (pair + more) | (HAPPENED << shift));
  }
}

/** After all were counted: what did not happen is halved where something else did, once. */
function settle(slot: i32): void {
  const pair = <i32>load<u16>(COUNTS + 2 * slot);
  if (!(pair & MARKS)) return;
  let zeros = pair & 127;
  let ones = (pair >> 8) & 127;
  if (zeros > 2 && (pair >> 8) & HAPPENED) zeros = (zeros >> 1) + 1;
  if (ones > 2 && pair & HAPPENED) ones = (ones >> 1) + 1;
  store<u16>(COUNTS + 2 * slot, min(zeros, MOST) | (min(ones, MOST) << 8));
}

/** The bits of the numbers of `open`, the highest first. Decision 1 + m is that of node m. */
function numbers(n: i32, depth: i32): void {
  for (let bit = depth - 1; bit >= 0; bit--) {
    for (let j = 0; j < n; j++) putByte(wanted, int(open, j), (byte(truth, int(open, j)) >> bit) & 1);
    decide(open, n, 2 + bit, FAST);
    for (let j = 0; j < n; j++) {
      const i = int(open, j);
      put(decision, i, 2 * (int(decision, i) - 1) + byte(bits, i) + 1);
    }
  }
  for (let j = 0; j < n; j++) putByte(found, int(open, j), int(decision, int(open, j)) - 1 - (1 << depth));
}

/** What a decision with this probability costs, in 256ths of a bit. */
function cost(p: i32): i64 {
  return int(COSTS, p >> 4);
}

/** The probability of 1 of decision d of pixel i of the step, before the step's rounds. kind: for the weights. */
function ahead(i: i32, d: i32, kind: i32): i32 {
  put(decision, i, d);
  const set = look(i, 0);
  return mixed(WEIGHTS + 4 * CONTEXTS * (kind * SETS + set), 0);
}

/** How far colour c is from what a pixel is to show: sixteenths of a squared level, of lightness and of both hues. */
function off(pixel: i32, c: i32): i32 {
  const own = stream + 8 * pixel;
  const other = PALETTE + 8 * c;
  const light = <i32>load<i16>(own) - <i32>load<i16>(other);
  const red = <i32>load<i16>(own + 2) - <i32>load<i16>(other + 2);
  const blue = <i32>load<i16>(own + 4) - <i32>load<i16>(other + 4);
  return light * light + 8 * (red * red + blue * blue);
}

/** An error and its bits as one number. */
function burden(error: i32, bits: i64): i64 {
  return 256 * <i64>error + 16 * price * bits;
}

/**
 * The number that pixel i of the step is shown in: its own one, the one to the left, the one above, or the likeliest
 * other one. depth: bits of a number.
 */
function cheapest(i: i32, pixel: i32, isFlat: bool, depth: i32, colours: i32): i32 {
  const left = byte(found, i);
  const up = byte(above, i);
  const own = byte(truth, i);
  if (load<i16>(stream + 8 * pixel + 6) || (isFlat && own == left)) return own;
  const most = off(pixel, own) + OFF;
  let best = own;
  let least = i64.MAX_VALUE;
  if (isFlat) hash(i);
  let p = isFlat ? leaving(left) : ahead(i, 0, 0);
  let spent = cost(p); // to say that it is neither the left one nor the upper one
  let error = off(pixel, left);
  if (error <= most) {
    best = left;
    least = burden(error, cost(ONE - p));
  }
  if (!isFlat && up != left) {
    p = ahead(i, 1, 1);
    error = off(pixel, up);
    const all = burden(error, spent + cost(ONE - p));
    if (error <= most && all < least) {
      best = up;
      least = all;
    }
    spent += cost(p);
  }
  for (let likely = 0; likely < 2 && least > burden(0, spent); likely++) {
    let node = 1;
    let bits = spent;
    for (let bit = depth - 1; bit >= 0; bit--) {
      p = ahead(i, 1 + node, 2 + bit);
      const one = likely ? p > ONE / 2 : (own >> bit) & 1;
      bits += cost(one ? p : ONE - p);
      node = 2 * node + (one ? 1 : 0);
    }
    const number = node - (1 << depth);
    if (number >= colours || number == left || number == up) continue;
    error = off(pixel, number);
    const all = burden(error, bits);
    if (error <= most && all < least) {
      best = number;
      least = all;
    }
  }
  return best;
}

function run(height: i32, width: i32, colours: i32): void {
  const depth = 32 - clz(colours - 1);
  const tallest = min(height, BAND);
  const stride = width + 2 * MARGIN;
  memory.fill(STAYED, 0, 2 * 4 * 256);
  memory.fill(STEPS, 0, 8 * SETS * CONTEXTS);
  memory.fill(COUNTS, 0, 2 * CONTEXTS * SLOTS);
  memory.fill(plane, 0, planeSize);
  memory.fill(truth, 0, most);
  for (let at = 0; at < KINDS * SETS * CONTEXTS; at++) put(WEIGHTS, at, FIRST_WEIGHT);
  for (let m = 0; m < NEIGHBOURS; m++) put(OFFSETS, m, int(DOWN, m) * stride + int(ACROSS, m));

  for (let step = 0; step < width + LAG * (tallest - 1) && !broken; step++) {
    const begun = min(tallest - 1, step / LAG);
    const over = step < width ? 0 : (step - width) / LAG + 1;
    let n = 0;
    let flats = 0;
    let rest = 0;
    for (let j = over; j <= begun; j++)
      for (let row = j; row < height; row += BAND) {
        const x = step - LAG * j;
        const here = ((row / BAND) * (BAND + LAG) + LAG + j) * stride + MARGIN + x;
        const c = byte(plane, here - 1);
        put(places, n, here);
        putByte(found, n, c);
        putByte(above, n, byte(plane, here - stride));
        if (writing) putByte(truth, n, byte(pixels, row * width + x));
        putByte(bits, n, 0);
        let m = 1;
        while (m < NEIGHBOURS && byte(plane, here + int(OFFSETS, m)) == c) m++;
        if (m == NEIGHBOURS) put(flat, flats++, n);
        else {
          put(edges, rest++, n);
          hash(n);
        }
        if (choosing) putByte(truth, n, cheapest(n, row * width + x, m == NEIGHBOURS, depth, colours));
        putByte(wanted, n, byte(truth, n) != c ? 1 : 0);
        put(decision, n, 0);
        n++;
      }
    if (flats) leave(flats);
    if (rest) {
      decide(edges, rest, 0, SLOW);
      let seconds = 0;
      for (let j = 0; j < rest; j++) {
        const i = int(edges, j);
        if (!byte(bits, i) || byte(found, i) == byte(above, i)) continue;
        put(second, seconds++, i);
        putByte(wanted, i, byte(truth, i) != byte(above, i) ? 1 : 0);
        put(decision, i, 1);
        putByte(found, i, byte(above, i));
      }
      if (seconds) decide(second, seconds, 1, SLOW);
    }
    let opens = 0;
    for (let j = 0, f = 0; j < n; j++) {
      const isFlat = f < flats && int(flat, f) == j;
      if (isFlat) f++;
      if (!byte(bits, j)) continue;
      put(open, opens++, j);
      if (isFlat) hash(j);
      put(decision, j, 2);
    }
    if (opens) numbers(opens, depth);
    for (let j = 0; j < n; j++) {
      const c = byte(found, j);
      putByte(plane, int(places, j), c);
    }
  }
  if (writing && !choosing) return;
  for (let row = 0; row < height; row++) {
    const at = ((row / BAND) * (BAND + LAG) + LAG + (row % BAND)) * stride + MARGIN;
    memory.copy(pixels + row * width, plane + at, width);
  }
}
