import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";

test("the program that Python runs is what its source compiles to", () => {
  const web = join(import.meta.dirname, "../.."); // this test lies in test/out
  const { status, stderr } = spawnSync(process.execPath, ["wasm/build.mjs", "--check"], { cwd: web, encoding: "utf8" });
  assert.equal(status, 0, stderr);
});
