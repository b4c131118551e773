/** Decoded pictures of the page by their address: each is fetched and decoded once, the newest are kept. */
import { fetchPicture, type DecodeOptions } from "./index.js";
import type { Progress } from "./messages.js";

const MOST = 2 ** 27; // bytes of all pictures that are kept

interface Entry {
  promise: Promise<Blob>;
  controller: AbortController;
  listeners: Set<(progress: Progress) => void>;
  wanted: number;
  bytes: number;
}

const entries = new Map<string, Entry>();

/** The picture at an address as a PNG. Given up only when all who asked for it have given up. */
export function decodedOnce(address: string, { signal, onProgress }: DecodeOptions = {}): Promise<Blob> {
  const entry = entries.get(address) ?? begin(address);
  entries.delete(address); // the newest stands last
  entries.set(address, entry);
  entry.wanted++;
  if (onProgress) entry.listeners.add(onProgress);
  return new Promise<Blob>((resolve, reject) => {
    const leave = () => {
      entry.wanted--;
      if (onProgress) entry.listeners.delete(onProgress);
    };
    const abort = () => {
      leave();
      if (!entry.wanted && !entry.bytes) {
        entries.delete(address);
        entry.controller.abort();
      }
      reject(signal!.reason as Error);
    };
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort, { once: true });
    entry.promise.then(resolve, reject).finally(() => {
      if (signal?.aborted) return;
      signal?.removeEventListener("abort", abort);
      leave();
    });
  });
}

function begin(address: string): Entry {
  const controller = new AbortController();
  const listeners = new Set<(progress: Progress) => void>();
  const onProgress = (progress: Progress) => listeners.forEach((listener) => listener(progress));
  const promise = fetchPicture(address, { signal: controller.signal, onProgress }).then(({ image }) => image);
  const entry: Entry = { promise, controller, listeners, wanted: 0, bytes: 0 };
  promise.then(
    (blob) => {
      entry.bytes = blob.size;
      let total = [...entries.values()].reduce((sum, e) => sum + e.bytes, 0);
      for (const [old, { bytes }] of entries) {
        if (total <= MOST || old === address) break;
        total -= bytes;
        if (bytes) entries.delete(old);
      }
    },
    () => {
      if (entries.get(address) === entry) entries.delete(address); // the next one tries again
    },
  );
  return entry;
}
