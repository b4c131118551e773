/** Other codecs at the same size: JPEG and WebP by the browser, AVIF by the server on this machine. */

/** A file of another codec, or why there is none. */
export interface Other {
  name: string;
  blob: Blob | null;
  milliseconds: number;
  why?: string;
}

/** The best file of a canvas codec that is no larger than `most` bytes; the browser's quality goes from 0 to 1. */
async function byBrowser(name: string, type: string, canvas: OffscreenCanvas, most: number): Promise<Other> {
  const begin = performance.now();
  let blob: Blob | null = null;
  let [low, high] = [0, 101];
  while (low < high) {
    const middle = (low + high) >> 1;
    const made = await canvas.convertToBlob({ type, quality: middle / 100 });
    if (made.type !== type) return { name, blob: null, milliseconds: 0, why: "this browser does not write it" };
    if (made.size <= most) {
      blob = made;
      low = middle + 1;
    } else high = middle;
  }
  const milliseconds = performance.now() - begin;
  return blob ? { name, blob, milliseconds } : { name, blob, milliseconds, why: "its smallest file is larger" };
}

async function byServer(picture: Blob, most: number): Promise<Other> {
  const name = "AVIF";
  const begin = performance.now();
  try {
    const response = await fetch(`avif?bytes=${most}`, { method: "POST", body: picture });
    if (response.ok) return { name, blob: await response.blob(), milliseconds: performance.now() - begin };
    const why = response.headers.get("Content-Type")?.startsWith("application/json")
      ? ((await response.json()) as { error: string }).error
      : "this server does not make it";
    return { name, blob: null, milliseconds: 0, why };
  } catch {
    return { name, blob: null, milliseconds: 0, why: "there is no server that makes it" };
  }
}

/** JPEG, WebP and AVIF files of at most so many bytes, one after the other as they come. */
export async function* others(canvas: OffscreenCanvas, most: number): AsyncGenerator<Other> {
  yield await byBrowser("JPEG", "image/jpeg", canvas, most);
  yield await byBrowser("WebP", "image/webp", canvas, most);
  yield await byServer(await canvas.convertToBlob({ type: "image/png" }), most);
}
