/** Puts dist/ into the Python package, gzipped, for `dpc web`. */
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const from = join(import.meta.dirname, "dist");
const to = join(import.meta.dirname, "../src/dpc/web/static");
await rm(to, { recursive: true, force: true });
await mkdir(to, { recursive: true });
for (const name of await readdir(from))
  if (!name.endsWith(".map") && !name.endsWith(".d.ts"))
    await writeFile(join(to, `${name}.gz`), gzipSync(await readFile(join(from, name)), { level: 9 }));
