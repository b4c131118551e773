/** The worker behind promises: started when it is first needed, one for the page. */
import { DPCError, fromPlain } from "./errors.js";
import type { Answer, Job, Progress, Setup } from "./messages.js";

/** Where the package's files lie, and how many threads may work. Set it before the first picture. */
export interface Configuration {
  /** Address of the folder with worker.js and the .wasm files; default: that of this script. */
  base?: string | URL;
  /** Address of models.json; default: models/models.json in the folder. */
  models?: string | URL;
  /** Default: up to 4 where the page is cross-origin isolated, else 1, which is then the most there can be. */
  threads?: number;
}

/** What every job may be given. */
export interface JobOptions {
  /** Gives the job up: the promise rejects with an AbortError. */
  signal?: AbortSignal | undefined;
  /** Told where the job stands. */
  onProgress?: ((progress: Progress) => void) | undefined;
}

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
  progress: JobOptions["onProgress"];
}

let configuration: Configuration = {};
let worker: Worker | null = null;
let last = 0;
const waiting = new Map<number, Waiting>();

/** Set where things lie. DPCError when the worker runs already. */
export function configure(given: Configuration): void {
  if (worker) throw new DPCError("configure was called after the first picture; call it before");
  configuration = { ...configuration, ...given };
}

/** End the worker and free its memory; the next picture starts another. Jobs that wait are given up. */
export function terminate(): void {
  worker?.terminate();
  worker = null;
  failAll(new DOMException("the worker was ended", "AbortError"));
}

/** Have the worker do a job. */
export function ask<T>(job: WithoutId<Job>, options: JobOptions, transfer: Transferable[] = []): Promise<T> {
  const { signal, onProgress } = options;
  return new Promise<T>((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const id = ++last;
    const running = (worker ??= start());
    const abort = () => {
      running.postMessage({ op: "cancel", id } satisfies Job);
      waiting.delete(id);
      reject(signal!.reason as Error);
    };
    const end = () => signal?.removeEventListener("abort", abort);
    waiting.set(id, {
      resolve: (result) => {
        end();
        resolve(result as T);
      },
      reject: (error) => {
        end();
        reject(error);
      },
      progress: onProgress,
    });
    signal?.addEventListener("abort", abort, { once: true });
    running.postMessage({ ...job, id }, transfer);
  });
}

function start(): Worker {
  const base = new URL("./", new URL(configuration.base ?? ".", import.meta.url)).href;
  const models = new URL(configuration.models ?? "models/models.json", base).href;
  const most = globalThis.crossOriginIsolated ? Math.max(1, navigator.hardwareConcurrency || 1) : 1;
  const threads = Math.min(configuration.threads ?? 4, most);
  const made = new Worker(new URL("worker.js", base), { type: "module", name: "dpc" });
  made.onmessage = ({ data }: MessageEvent<Answer>) => {
    const job = waiting.get(data.id);
    if (!job) return; // it was given up
    if (data.kind === "progress") return job.progress?.(data.progress);
    waiting.delete(data.id);
    if (data.kind === "done") job.resolve(data.result);
    else job.reject(fromPlain(data.error));
  };
  made.onerror = (event) => {
    worker = null;
    made.terminate();
    failAll(
      new DPCError(
        `the worker cannot run (${event.message || "its script did not load"}); look at the address in configure`,
      ),
    );
  };
  made.postMessage({ op: "setup", base, models, threads } satisfies Setup);
  return made;
}

function failAll(error: Error): void {
  for (const job of waiting.values()) job.reject(error);
  waiting.clear();
}
