/**
 * Just enough of protocol buffers to put weights into an ONNX graph: a message is a list of fields, and a field is
 * kept as its bytes unless it is opened.
 */
import { ModelError } from "./errors.js";

/** One field of a message: its number, and its payload (the bytes of a varint, fixed number, string or message). */
export interface Field {
  number: number;
  wire: number;
  payload: Uint8Array;
}

/** The fields of a message, in order. ModelError when it is not one. */
export function fieldsOf(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined || scale > 2 ** 63)
        throw new ModelError("a graph of the model is damaged; fetch it again");
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const wire = tag & 7;
    let start = at;
    let end: number;
    if (wire === 0) {
      varint();
      end = at;
    } else if (wire === 1 || wire === 5) {
      end = at + (wire === 1 ? 8 : 4);
    } else if (wire === 2) {
      const length = varint();
      start = at;
      end = at + length;
    } else throw new ModelError(`a graph of the model has a field of wire type ${wire}; fetch the model again`);
    if (end > bytes.length) throw new ModelError("a graph of the model ends too early; fetch it again");
    fields.push({ number: Math.floor(tag / 8), wire, payload: bytes.subarray(start, end) });
    at = end;
  }
  return fields;
}

/** The bytes of a message. */
export function messageOf(fields: readonly Field[]): Uint8Array {
  const heads = fields.map((f) => [
    ...varintBytes(f.number * 8 + f.wire),
    ...(f.wire === 2 ? varintBytes(f.payload.length) : []),
  ]);
  const out = new Uint8Array(fields.reduce((sum, f, i) => sum + heads[i]!.length + f.payload.length, 0));
  let at = 0;
  fields.forEach((field, i) => {
    out.set(heads[i]!, at);
    out.set(field.payload, at + heads[i]!.length);
    at += heads[i]!.length + field.payload.length;
  });
  return out;
}

/** The number in the payload of a varint field (below 2^53). */
export function numberOf(payload: Uint8Array): number {
  return payload.reduceRight((value, byte) => value * 128 + (byte & 0x7f), 0);
}

function varintBytes(value: number): number[] {
  const out: number[] = [];
  while (value > 0x7f) {
    out.push((value % 128) + 128);
    value = Math.floor(value / 128);
  }
  out.push(value);
  return out;
}
