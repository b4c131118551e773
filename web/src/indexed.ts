/** The body of a picture of few colours: a palette, and the number of each pixel's colour. docs/format.md, "The indexed body". */
import { AnsDecoder } from "./ans.js";
import { Corrupt } from "./errors.js";
import { run } from "./mixing.js";
import { CLEAR } from "./webp.js";

const LARGEST = 2 ** 23; // pixels, for time
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
  const start = 2 + 3 * colours;
  if (colours < 2 || body.length < start + 4 || (body.length - start) % 4)
    throw new Corrupt(`the ${title} has ${body.length} bytes, which are not those of ${colours} colours; ${DAMAGED}`);
  const decoder = new AnsDecoder(body.subarray(start), `the ${title}`);
  const numbers = run(height, width, colours, (p) => {
    decoder.check();
    return decoder.bit(p * 256);
  });
  decoder.finish();
  const clear = body[0] === CLEAR ? colours - 1 : colours;
  const palette = new Uint8Array(4 * colours);
  for (let c = 0; c < colours; c++) {
    palette.set(body.subarray(2 + 3 * c, 5 + 3 * c), 4 * c);
    palette[4 * c + 3] = c === clear ? 0 : 255;
  }
  const words = new Uint32Array(palette.buffer);
  const pixels = new Uint32Array(numbers.length);
  for (let i = 0; i < numbers.length; i++) {
    if (numbers[i]! >= colours) throw new Corrupt(`the ${title} uses colour ${numbers[i]} of ${colours}; ${DAMAGED}`);
    pixels[i] = words[numbers[i]!]!;
  }
  return { rgba: new Uint8ClampedArray(pixels.buffer), alpha: clear < colours };
}
