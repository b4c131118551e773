/** Arrays as numpy writes them (.npy), the kinds that a model holds. */
import { ModelError } from "./errors.js";

export type Numbers =
  Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array | Float64Array;

/** An array: numpy's name of its kind ("<f2" is kept as the 16 bits of each value), its shape, its values. */
export interface NumpyArray {
  kind: string;
  shape: number[];
  values: Numbers;
}

const KINDS: Record<string, new (buffer: ArrayBuffer) => Numbers> = {
  "|i1": Int8Array,
  "|u1": Uint8Array,
  "<i2": Int16Array,
  "<u2": Uint16Array,
  "<f2": Uint16Array,
  "<i4": Int32Array,
  "<u4": Uint32Array,
  "<f4": Float32Array,
  "<f8": Float64Array,
};

/** The array in an .npy file; ModelError when it is not one of a known kind. */
export function readNpy(name: string, bytes: Uint8Array): NumpyArray {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wrong = (what: string) => new ModelError(`${name} of the model ${what}; fetch the model again`);
  if (bytes.length < 12 || view.getUint32(0) !== 0x934e554d || view.getUint16(4) !== 0x5059)
    throw wrong("is not an array");
  const wide = bytes[6]! > 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const kind = /'descr':\s*'([^']+)'/.exec(header)?.[1] ?? "";
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  const make = KINDS[kind];
  if (!make || shape === undefined || !/'fortran_order':\s*False/.test(header))
    throw wrong(`is of the kind ${kind || "?"}`);
  const sides = shape
    .split(",")
    .filter((s) => s.trim())
    .map(Number);
  const data = bytes.slice(start + length);
  const values = data.byteLength % sizeOf(kind) === 0 ? new make(data.buffer) : null;
  if (!values || values.length !== sides.reduce((a, b) => a * b, 1)) throw wrong("is cut short");
  return { kind, shape: sides, values };
}

function sizeOf(kind: string): number {
  return Number(kind.slice(2));
}

/** The float32 values of 16-bit floats. */
export function halfToFloat(half: Uint16Array): Float32Array {
  const bits = new Uint32Array(half.length);
  for (let i = 0; i < half.length; i++) {
    const h = half[i]!;
    const sign = (h & 0x8000) << 16;
    let exponent = (h >> 10) & 0x1f;
    let fraction = h & 0x3ff;
    if (exponent === 0x1f) exponent = 0xff;
    else if (exponent) exponent += 112;
    else if (fraction) {
      for (exponent = 113; !(fraction & 0x400); fraction <<= 1) exponent--;
      fraction &= 0x3ff;
    }
    bits[i] = sign | (exponent << 23) | (fraction << 13);
  }
  return new Float32Array(bits.buffer);
}
