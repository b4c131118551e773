/**
 * Compiles mixing.ts for Python: src/dpc/codec/mixing.wasm. With --check nothing is written; it fails where the kept
 * program is another one.
 */
import asc from "assemblyscript/asc";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const kept = join(import.meta.dirname, "../../src/dpc/codec/mixing.wasm");
const source = await readFile(join(import.meta.dirname, "mixing.ts"), "utf8");
let program = new Uint8Array();
const options = ["-O3", "--runtime", "stub", "--noAssert", "--outFile", "mixing.wasm"];
const { error, stderr } = await asc.main(["mixing.ts", ...options], {
  readFile: (name) => (name === "mixing.ts" ? source : null),
  writeFile: (_, bytes) => {
    program = bytes;
  },
  listFiles: () => [],
});
if (error) throw new Error(`${error.message}\n${stderr.toString()}`);
if (!process.argv.includes("--check")) await writeFile(kept, program);
else if (!(await readFile(kept)).equals(program))
  throw new Error("src/dpc/codec/mixing.wasm is not what mixing.ts compiles to; run `npm run wasm`");
