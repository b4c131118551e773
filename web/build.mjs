/** Builds the package into dist/: scripts, worker, the WebAssembly of ONNX Runtime and libwebp, and the page of `dpc web`. */
import { build } from "esbuild";
import { cp, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";

const require = createRequire(import.meta.url);
const here = import.meta.dirname;
const out = join(here, "dist");

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: ["index", "element", "polyfill", "worker", "page/page"].map((name) => `src/${name}.ts`),
  outdir: out,
  entryNames: "[name]",
  chunkNames: "chunk-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  sourcemap: "linked",
  conditions: ["onnxruntime-web-use-extern-wasm"],
  legalComments: "eof",
});

const ort = dirname(require.resolve("onnxruntime-web"));
for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"])
  await cp(join(ort, name), join(out, name));
const webp = dirname(require.resolve("@jsquash/webp"));
await cp(join(webp, "codec/dec/webp_dec.wasm"), join(out, "webp_dec.wasm"));
await cp(join(webp, "codec/enc/webp_enc_simd.wasm"), join(out, "webp_enc_simd.wasm"));
for (const name of ["index.html", "page.css"]) await cp(join(here, "src/page", name), join(out, name));

let total = 0;
for (const name of (await readdir(out)).sort()) {
  if (name.endsWith(".map")) continue;
  const bytes = await readFile(join(out, name));
  const packed = gzipSync(bytes, { level: 9 });
  total += packed.length;
  console.log(
    `${name.padEnd(32)} ${String(bytes.length).padStart(10)} bytes, ${String(packed.length).padStart(9)} gzipped`,
  );
}
console.log(`${"all".padEnd(32)} ${String(total).padStart(27)} gzipped`);
