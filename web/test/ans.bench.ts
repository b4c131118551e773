/** Symbols a second of the coder, against the same arithmetic with BigInt: npm run bench. */
import { AnsDecoder, AnsEncoder, Table } from "../src/ans.js";
import { numbers } from "./random.js";

const random = numbers(1);
const raw = Array.from({ length: 42 }, (_, i) => 1 + Math.floor(2 ** 20 * Math.exp(-Math.abs(i - 20) / 2)));
raw[20]! += 2 ** 24 - raw.reduce((a, b) => a + b, 0);
const table = new Table(Uint32Array.from(raw));
const symbols = Array.from({ length: 200_000 }, () => table.symbol(Math.floor(random() * 2 ** 24)));
const encoder = new AnsEncoder();
for (const s of [...symbols].reverse()) encoder.symbol(table, s);
const bytes = encoder.finish();

function halves(): number {
  const decoder = new AnsDecoder(bytes);
  let sum = 0;
  for (let i = 0; i < symbols.length; i++) sum += decoder.symbol(table);
  decoder.finish();
  return sum;
}

function big(): number {
  const words = new Uint32Array(bytes.buffer);
  let next = words.length;
  let state = 0n;
  while (state < 1n << 32n && next) state = (state << 32n) + BigInt(words[--next]!);
  let sum = 0;
  for (let i = 0; i < symbols.length; i++) {
    const slot = Number(state & 0xffffffn);
    const s = table.symbol(slot);
    state = BigInt(table.frequencies[s]!) * (state >> 24n) + BigInt(slot - table.sums[s]!);
    if (state < 1n << 32n && next) state = (state << 32n) + BigInt(words[--next]!);
    sum += s;
  }
  return sum;
}

for (let turn = 0; turn < 4; turn++)
  for (const [name, work] of Object.entries({ halves, big })) {
    const begin = process.cpuUsage();
    const sum = work();
    const { user, system } = process.cpuUsage(begin);
    const rate = symbols.length / (user + system);
    process.stdout.write(`${name}: ${rate.toFixed(1)} million symbols a second (sum ${sum})\n`);
  }
