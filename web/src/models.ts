/**
 * The models at hand: models.json beside the scripts lists them, each in two halves. A half is fetched when it is first
 * needed, kept in the Cache API where the page may use that, and its sha256 is checked either way.
 */
import { Artifact, sha256Hex } from "./artifact.js";
import { ModelError, UnknownModel } from "./errors.js";
import { Graphs } from "./runtime.js";

/** One half of a model as models.json has it. */
export interface HalfEntry {
  file: string;
  bytes: number;
  sha256: string;
}

/** A model as models.json has it. */
export interface ModelEntry {
  name: string;
  id: string;
  default: boolean;
  decode: HalfEntry;
  encode: HalfEntry;
}

export type Half = "decode" | "encode";
/** Told how many bytes of a model have come. */
export type Loading = (loaded: number, total: number) => void;

const CACHE = "dpc-models";

/** The models of one place. */
export class Models {
  private list: Promise<ModelEntry[]> | null = null;
  private readonly loaded = new Map<string, { graphs: Graphs; halves: Set<Half> }>();

  constructor(private readonly index: string) {}

  /** The graphs of a model, with the halves that are asked for. id: 8 hexadecimal digits, a name, or null for the default. */
  async graphs(id: string | null, halves: readonly Half[], loading: Loading): Promise<Graphs> {
    const entry = await this.find(id);
    let known = this.loaded.get(entry.id);
    for (const half of halves) {
      if (known?.halves.has(half)) continue;
      const bytes = await this.fetchHalf(entry, half, loading);
      if (known) known.graphs.artifact.add(bytes);
      else this.loaded.set(entry.id, (known = { graphs: new Graphs(new Artifact(bytes)), halves: new Set() }));
      if (known.graphs.artifact.id !== entry.id) {
        this.loaded.delete(entry.id);
        throw new ModelError(
          `${entry[half].file} holds the model ${known.graphs.artifact.id}, not ${entry.id}; put up the right file`,
        );
      }
      known.halves.add(half);
    }
    return known!.graphs;
  }

  /** The entry of a model; UnknownModel when it is not in the list. */
  async find(id: string | null): Promise<ModelEntry> {
    const list = await (this.list ??= this.fetchList().catch((error: unknown) => {
      this.list = null;
      throw error;
    }));
    const entry = list.find((m) => (id === null ? m.default : m.id === id || m.name === id));
    if (!entry) {
      const there = list.map((m) => `${m.name} (${m.id})`).join(", ") || "none";
      throw new UnknownModel(
        `the model ${id ?? "by default"} is not at hand, there are: ${there}; put up the model that made the file`,
      );
    }
    return entry;
  }

  private async fetchList(): Promise<ModelEntry[]> {
    const response = await get(this.index, { cache: "no-cache" });
    try {
      return ((await response.json()) as { models: ModelEntry[] }).models;
    } catch {
      throw new ModelError(`${this.index} is not a list of models; write it with dpc web --export`);
    }
  }

  private async fetchHalf(entry: ModelEntry, half: Half, loading: Loading): Promise<Uint8Array> {
    const { file, bytes: total, sha256 } = entry[half];
    const url = new URL(file, this.index);
    url.searchParams.set("sha256", sha256.slice(0, 16));
    const cache = typeof caches === "undefined" ? null : await caches.open(CACHE).catch(() => null);
    const kept = await cache?.match(url.href);
    if (kept) {
      const bytes = new Uint8Array(await kept.arrayBuffer());
      if (sha256Hex(bytes) === sha256) {
        loading(total, total);
        return bytes;
      }
      await cache!.delete(url.href);
    }
    const bytes = await received(await get(url.href), total, loading);
    if (sha256Hex(bytes) !== sha256)
      throw new ModelError(`${file} is damaged: its sha256 is not the one in ${this.index}; fetch it again`);
    await cache?.put(url.href, new Response(new Blob([bytes]))).catch(() => undefined); // a full cache is no failure
    return bytes;
  }
}

async function get(url: string, options: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    throw new ModelError(
      `${url} cannot be fetched (${error instanceof Error ? error.message : String(error)}); look at the server`,
    );
  }
  if (!response.ok)
    throw new UnknownModel(`${url} cannot be fetched: ${response.status} ${response.statusText}; put the file there`);
  return response;
}

async function received(response: Response, total: number, loading: Loading): Promise<Uint8Array<ArrayBuffer>> {
  const out = new Uint8Array(total);
  let at = 0;
  const reader = response.body!.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > total)
      throw new ModelError(`${response.url} is longer than ${total} bytes; put up the right file`);
    out.set(value, at);
    at += value.length;
    loading(at, total);
  }
  if (at !== total) throw new ModelError(`${response.url} has ${at} bytes, not ${total}; fetch it again`);
  return out;
}
