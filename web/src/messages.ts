/** What page and worker say to each other. */
import type { PlainError } from "./errors.js";
import type { Target } from "./target.js";

/** Where things lie and how many threads there may be; the first message. */
export interface Setup {
  op: "setup";
  base: string;
  models: string;
  threads: number;
}

/** A job of the worker, by its number. */
export type Job = { id: number } & (
  | { op: "decode"; bytes: Uint8Array; maxPixels: number; as: "data" | "bitmap" | "png" }
  | {
      op: "encode";
      image: ImageBitmap | ImageData;
      target: Target;
      model: string | null;
      lossless: boolean | undefined;
    }
  | { op: "prepare"; model: string | null; encode: boolean }
  | { op: "cancel" }
);

/** Where a job stands: bytes of a model that have come, or the share of the work that is done. */
export interface Progress {
  stage: "model" | "decode" | "encode";
  /** 0 to 1. */
  share: number;
}

/** A decoded picture as it crosses. */
export interface Decoded {
  width: number;
  height: number;
  grey: boolean;
  alpha: boolean;
  colour: string;
  icc?: Uint8Array | undefined;
  exif?: Uint8Array | undefined;
  xmp?: Uint8Array | undefined;
  /** Milliseconds by part: network graphs, and all of it. */
  times: Record<string, number>;
  rgba?: Uint8ClampedArray<ArrayBuffer>;
  bitmap?: ImageBitmap;
  png?: Blob;
}

/** The worker's answers. */
export type Answer = { id: number } & (
  { kind: "progress"; progress: Progress } | { kind: "done"; result: unknown } | { kind: "failed"; error: PlainError }
);
