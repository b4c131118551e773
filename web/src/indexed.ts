/** The body of a picture of few colours: a palette, and the number of each pixel's colour. docs/format.md, "The indexed body". */
import { AnsDecoder, AnsEncoder } from "./ans.js";
import { Corrupt } from "./errors.js";
import { run } from "./mixing.js";
import { CLEAR, OPAQUE, TRANSLUCENT } from "./webp.js";

export const LARGEST = 2 ** 24; // pixels, for time
const NOTHING = 255 * 2 ** 24; // opacity 0, in place of a colour
const DAMAGED = "the file is damaged, get it again";

/** The pixels of an indexed body; Corrupt for one that no writer makes. title: what an error calls it. */
export function readIndexed(
  body: Uint8Array,
  width: number,
  height: number,
  title: string,
): { rgba: Uint8ClampedArray<ArrayBuffer>; alpha: boolean } {
  if (width * height > LARGEST)
    throw new Corrupt(
      `the ${title} is an indexed one of ${width}x${height} pixels, above ${LARGEST} in all; ${DAMAGED}`,
    );
  const colours = body.length > 1 ? body[1]! + 1 : 0;
  const wide = body[0] === TRANSLUCENT ? 4 : 3; // bytes of a colour
  const start = 2 + wide * colours;
  if (colours < 2 || body.length < start + 4 || (body.length - start) % 4)
    throw new Corrupt(`the ${title} has ${body.length} bytes, which are not those of ${colours} colours; ${DAMAGED}`);
  const decoder = new AnsDecoder(body.subarray(start), `the ${title}`);
  const numbers = run(height, width, colours, (p) => {
    decoder.check();
    return decoder.bit(p * 256);
  });
  decoder.finish();
  const palette = new Uint8Array(4 * colours).fill(255);
  for (let c = 0; c < colours; c++) palette.set(body.subarray(2 + wide * c, 2 + wide * (c + 1)), 4 * c);
  if (body[0] === CLEAR) palette[4 * colours - 1] = 0;
  const words = new Uint32Array(palette.buffer);
  const pixels = new Uint32Array(numbers.length);
  for (let i = 0; i < numbers.length; i++) {
    if (numbers[i]! >= colours) throw new Corrupt(`the ${title} uses colour ${numbers[i]} of ${colours}; ${DAMAGED}`);
    pixels[i] = words[numbers[i]!]!;
  }
  return { rgba: new Uint8ClampedArray(pixels.buffer), alpha: body[0] !== OPAQUE };
}

/**
 * The body of a picture. null where it has more than 256 colours, opacities counted with them, or too many pixels. What
 * is clear comes back black. The palette of a picture of one colour has a second one, which no pixel has.
 */
export function writeIndexed(rgba: Uint8ClampedArray, width: number, height: number): Uint8Array | null {
  if (width * height > LARGEST) return null;
  const found = new Map<number, number>(); // colour -> pixels
  const packed = new Uint32Array(width * height);
  for (let i = 0; i < packed.length; i++) {
    const [r, g, b, opacity] = [rgba[4 * i]!, rgba[4 * i + 1]!, rgba[4 * i + 2]!, rgba[4 * i + 3]!];
    const colour = opacity ? (255 - opacity) * 2 ** 24 + ((r << 16) | (g << 8) | b) : NOTHING;
    packed[i] = colour;
    found.set(colour, (found.get(colour) ?? 0) + 1);
    if (found.size > 256) return null;
  }
  if (found.size === 1) found.set(found.has(0) ? 1 : 0, 0);
  const translucent = [...found.keys()].some((colour) => colour >= 2 ** 24 && colour !== NOTHING);
  const clear = !translucent && found.delete(NOTHING);
  const colours = [...found].sort(([a, m], [b, n]) => n - m || a - b).map(([colour]) => colour);
  if (clear) colours.push(NOTHING);
  const numbers = new Map(colours.map((colour, number) => [colour, number]));
  const words = coded(
    Uint8Array.from(packed, (colour) => numbers.get(colour)!),
    width,
    height,
    colours.length,
  );
  const palette = colours.flatMap((colour) => {
    const rgb = [(colour >> 16) & 255, (colour >> 8) & 255, colour & 255];
    return translucent ? [...rgb, 255 - Math.floor(colour / 2 ** 24)] : rgb;
  });
  const head = [translucent ? TRANSLUCENT : clear ? CLEAR : OPAQUE, colours.length - 1, ...palette];
  const body = new Uint8Array(head.length + words.length);
  body.set(head);
  body.set(words, head.length);
  return body;
}

/** The stream of the numbers. */
function coded(numbers: Uint8Array, width: number, height: number, colours: number): Uint8Array {
  let decisions = new Uint32Array(4096); // twice the probability, and the bit
  let count = 0;
  run(
    height,
    width,
    colours,
    (p, wanted) => {
      if (count === decisions.length) {
        const wider = new Uint32Array(2 * count);
        wider.set(decisions);
        decisions = wider;
      }
      decisions[count++] = 2 * p + wanted;
      return wanted;
    },
    numbers,
  );
  const encoder = new AnsEncoder();
  while (count--) encoder.bit((decisions[count]! >> 1) * 256, decisions[count]! & 1);
  return encoder.finish();
}
