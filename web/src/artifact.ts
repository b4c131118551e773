/**
 * A model artifact (src/dpc/codec/artifact.py), or the half of one that decoding or encoding needs: a zip archive of
 * metadata.json, graphs/NAME.onnx without weights, weights/NAME.npy and tables/NAME.npy.
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { unzipSync } from "fflate";
import { Table, type Tables } from "./ans.js";
import { DPCError, ModelError } from "./errors.js";
import { haloOf } from "./geometry.js";
import { halfToFloat, readNpy, type NumpyArray, type Numbers } from "./npy.js";
import { fieldsOf, messageOf, numberOf, type Field } from "./protobuf.js";

const ARTIFACT_FORMAT = 1;
const FINE = 64;
const MAX_UNPACKED = 2 ** 29;

/** What metadata.json holds, as far as it matters here. */
export interface Metadata {
  artifact_format: number;
  name: string;
  identity: string;
  z_limit: number;
  exact_pixels?: boolean;
  quality_map?: boolean;
  halo?: number;
  graph_weights: Record<string, string[]>;
  network: {
    latents: number;
    hyper_latents: number;
    groups: number[];
    levels: number;
    encoder_depths: number[];
    decoder_depths: number[];
  };
}

/** A model's numbers and graphs. Several halves of one model may be joined with `add`. */
export class Artifact {
  readonly metadata: Metadata;
  readonly tables: Tables;
  readonly logGain: Float64Array;
  readonly offsets: Int32Array;
  readonly zIndices: Uint8Array;
  private readonly graphs = new Map<string, Uint8Array>();
  private readonly weights = new Map<string, NumpyArray>();

  /** ModelError unless these are the bytes of a sound artifact (or of the half that decodes). */
  constructor(bytes: Uint8Array) {
    const members = unpack(bytes);
    try {
      this.metadata = JSON.parse(new TextDecoder().decode(member(members, "metadata.json"))) as Metadata;
      const { artifact_format: format, network } = this.metadata;
      if (format !== ARTIFACT_FORMAT)
        throw new ModelError(
          `the model has artifact format ${format}, this version reads ${ARTIFACT_FORMAT}; update dpc-web`,
        );
      const table = (name: string) => readNpy(name, member(members, `tables/${name}.npy`));
      const lengths = Array.from(table("lengths").values);
      if (lengths.some((n) => n < 4 || n % 2))
        throw new ModelError("a table of the model is not of 2 K + 2 symbols; fetch it again");
      const frequencies = Uint32Array.from(table("frequencies").values);
      let end = 0;
      this.tables = lengths.map((n) => new Table(frequencies.slice(end, (end += n))));
      const fine = (network.levels - 1) * FINE + 1;
      this.logGain = Float64Array.from(
        floats(checked(table("log_gain"), "log_gain", network.levels * network.latents)),
      );
      this.offsets = Int32Array.from(checked(table("offsets"), "offsets", fine * network.latents).values);
      this.zIndices = Uint8Array.from(checked(table("z_indices"), "z_indices", fine * network.hyper_latents).values);
      if (network.groups.reduce((a, b) => a + b) !== network.latents || network.levels < 2 || !this.tables.length)
        throw new ModelError("the model has sizes that do not fit together; fetch it again");
      if (this.zIndices.some((i) => i < 1 || i > this.tables.length))
        throw new ModelError("the model's z_indices are out of range; fetch it again");
    } catch (error) {
      if (error instanceof DPCError) throw error;
      throw new ModelError(`the model is not a sound artifact (${String(error)}); fetch it again`);
    }
    this.take(members);
  }

  /** Take the graphs and weights of another half of the same model. */
  add(bytes: Uint8Array): void {
    const members = unpack(bytes);
    const other = JSON.parse(new TextDecoder().decode(member(members, "metadata.json"))) as Metadata;
    if (other.identity !== this.metadata.identity)
      throw new ModelError(
        `the two halves are of two models, ${this.metadata.name} and ${other.name}; fetch both again`,
      );
    this.take(members);
  }

  /** The first four bytes of the identity, in hexadecimal: what a file names. */
  get id(): string {
    return this.metadata.identity.slice(0, 8);
  }

  get fineLevels(): number {
    return (this.metadata.network.levels - 1) * FINE + 1;
  }

  /** Positions that a network sees around a position, at most. */
  get halo(): number {
    const { halo, network } = this.metadata;
    return halo ?? haloOf(network.encoder_depths, network.decoder_depths, network.groups.length);
  }

  has(graph: string): boolean {
    return this.graphs.has(graph);
  }

  /** Gains of all latent channels at a fine level. */
  gain(level: number): Float32Array {
    const { levels, latents } = this.metadata.network;
    const low = Math.min(Math.floor(level / FINE), levels - 2);
    const t = level / FINE - low;
    return Float32Array.from({ length: latents }, (_, n) =>
      Math.exp((1 - t) * this.logGain[low * latents + n]! + t * this.logGain[(low + 1) * latents + n]!),
    );
  }

  /** Weights of all gain levels at a fine level: those of the two around it, else 0. */
  interpolation(level: number): Float32Array {
    return Float32Array.from({ length: this.metadata.network.levels }, (_, l) =>
      Math.max(0, 1 - Math.abs(level / FINE - l)),
    );
  }

  /** The bytes of a graph with its weights in it, as ONNX Runtime reads them. */
  graph(name: string): Uint8Array {
    const bare = this.graphs.get(name);
    if (!bare) throw new ModelError(`the model ${this.metadata.name} lacks the graph ${name}; fetch all of it`);
    return inlined(bare, (weight) => {
      const array = this.weights.get(weight);
      if (!array) throw new ModelError(`the model ${this.metadata.name} lacks the weights ${weight}; fetch all of it`);
      return array;
    });
  }

  private take(members: Record<string, Uint8Array>): void {
    for (const [name, bytes] of Object.entries(members)) {
      if (name.startsWith("graphs/")) this.graphs.set(name.slice(7, -5), bytes);
      else if (name.startsWith("weights/")) this.weights.set(name.slice(8, -4), readNpy(name, bytes));
    }
  }
}

/** The sha256 of some bytes, in hexadecimal. */
export function sha256Hex(bytes: Uint8Array): string {
  return bytesToHex(sha256(bytes));
}

function unpack(bytes: Uint8Array): Record<string, Uint8Array> {
  let claimed = 0;
  try {
    return unzipSync(bytes, {
      filter: ({ originalSize }) => {
        claimed += originalSize;
        if (claimed > MAX_UNPACKED)
          throw new ModelError(`the model claims to unpack to ${claimed} bytes; the limit is ${MAX_UNPACKED}`);
        return true;
      },
    });
  } catch (error) {
    if (error instanceof DPCError) throw error;
    throw new ModelError(`the model is not a sound artifact (${String(error)}); fetch it again`);
  }
}

function member(members: Record<string, Uint8Array>, name: string): Uint8Array {
  const found = members[name];
  if (!found) throw new ModelError(`the model lacks ${name}; fetch it again`);
  return found;
}

function checked(array: NumpyArray, name: string, length: number): NumpyArray {
  if (array.values.length !== length)
    throw new ModelError(
      `${name} of the model has ${array.values.length} numbers, not ${length}; fetch the model again`,
    );
  return array;
}

function floats(array: NumpyArray): Numbers {
  return array.kind === "<f2" ? halfToFloat(array.values as Uint16Array) : array.values;
}

// fields of ONNX's ModelProto, GraphProto and TensorProto
const MODEL_GRAPH = 7;
const GRAPH_INITIALIZER = 5;
const TENSOR = { type: 2, name: 8, raw: 9, external: 13, location: 14 };
const ELEMENTS: Record<number, new (values: ArrayLike<number>) => Numbers> = {
  1: Float32Array,
  2: Uint8Array,
  3: Int8Array,
  6: Int32Array,
};

/** A graph whose initialisers that lie outside are filled with the weights of their names. */
function inlined(model: Uint8Array, weight: (name: string) => NumpyArray): Uint8Array {
  const within = (fields: Field[], number: number, change: (payload: Uint8Array) => Uint8Array) =>
    messageOf(fields.map((f) => (f.number === number ? { ...f, payload: change(f.payload) } : f)));
  return within(fieldsOf(model), MODEL_GRAPH, (graph) =>
    within(fieldsOf(graph), GRAPH_INITIALIZER, (tensor) => {
      const fields = fieldsOf(tensor);
      const get = (number: number) => fields.find((f) => f.number === number)?.payload;
      if (!numberOf(get(TENSOR.location) ?? new Uint8Array())) return tensor;
      const name = new TextDecoder().decode(get(TENSOR.name));
      const type = numberOf(get(TENSOR.type) ?? new Uint8Array());
      const make = ELEMENTS[type];
      if (!make)
        throw new ModelError(`the weights ${name} are of ONNX type ${type}, which is not known here; update dpc-web`);
      const values = new make(floats(weight(name)));
      const raw = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      const kept = fields.filter((f) => f.number !== TENSOR.external && f.number !== TENSOR.location);
      return messageOf([...kept, { number: TENSOR.raw, wire: 2, payload: raw }]);
    }),
  );
}
