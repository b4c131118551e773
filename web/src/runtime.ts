/** ONNX Runtime for WebAssembly: a session for each graph of a model, made when it is first used. */
import * as ort from "onnxruntime-web/wasm";
import type { Artifact } from "./artifact.js";
import { ModelError } from "./errors.js";

/** Where the WebAssembly of ONNX Runtime lies, and how many threads it may use. Call before the first session. */
export function configureRuntime(options: { base?: string; threads?: number }): void {
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = options.threads ?? 1;
  ort.env.wasm.proxy = false;
  if (options.base !== undefined) {
    const name = "ort-wasm-simd-threaded";
    ort.env.wasm.wasmPaths = {
      mjs: new URL(`${name}.mjs`, options.base).href,
      wasm: new URL(`${name}.wasm`, options.base).href,
    };
  }
}

/** Numbers with their shape, as the graphs take and give them. */
export interface Tensor {
  data: Float32Array | Uint8Array;
  dims: readonly number[];
}

/** The graphs of one model. */
export class Graphs {
  private readonly sessions = new Map<string, Promise<ort.InferenceSession>>();
  /** Milliseconds in each graph since the last reset. */
  readonly times = new Map<string, number>();

  constructor(readonly artifact: Artifact) {}

  /** Make all sessions that decoding takes beforehand. */
  async prepare(): Promise<void> {
    const groups = this.artifact.metadata.network.groups.map((_, g) => `scale${g}`);
    for (const name of [...groups, "means", "synthesis"]) await this.session(name);
  }

  /** The number of dimensions of an input, for the shapes of older models. */
  async rank(name: string, input: string): Promise<number> {
    const found = (await this.session(name)).inputMetadata.find((m) => m.name === input);
    return found?.isTensor ? found.shape.length : 0;
  }

  /** Run a graph: its outputs by name. */
  async run(name: string, inputs: Record<string, Tensor>): Promise<Record<string, Tensor>> {
    const session = await this.session(name);
    const begin = performance.now();
    const feeds: Record<string, ort.Tensor> = {};
    for (const wanted of session.inputNames) {
      const given = inputs[wanted];
      if (!given)
        throw new ModelError(`the graph ${name} of ${this.artifact.metadata.name} wants ${wanted}; update dpc-web`);
      feeds[wanted] =
        given.data instanceof Uint8Array
          ? new ort.Tensor("uint8", given.data, given.dims)
          : new ort.Tensor("float32", given.data, given.dims);
    }
    try {
      return (await session.run(feeds)) as unknown as Record<string, Tensor>;
    } catch (error) {
      throw this.failed(name, error);
    } finally {
      this.times.set(name, (this.times.get(name) ?? 0) + performance.now() - begin);
    }
  }

  /** Free the sessions. */
  async release(): Promise<void> {
    for (const session of this.sessions.values()) await (await session).release();
    this.sessions.clear();
  }

  private session(name: string): Promise<ort.InferenceSession> {
    let session = this.sessions.get(name);
    if (!session) {
      session = ort.InferenceSession.create(this.artifact.graph(name), {
        executionProviders: ["wasm"],
        enableMemPattern: false,
      }).catch((error: unknown) => {
        this.sessions.delete(name);
        throw this.failed(name, error);
      });
      this.sessions.set(name, session);
    }
    return session;
  }

  private failed(name: string, error: unknown): ModelError {
    const line = String(error instanceof Error ? error.message : error).split("\n")[0];
    return new ModelError(`the graph ${name} of ${this.artifact.metadata.name} cannot be run: ${line}`);
  }
}
