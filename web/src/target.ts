/** What an encoder is asked for. */
import { OptionError } from "./errors.js";

export const DEFAULT_QUALITY = 40;

/** What is asked for: at most one of the three. */
export interface Target {
  /** 1 (smallest) to 100, default 40. */
  quality?: number | undefined;
  /** Bits per pixel: the reachable rate nearest to it. */
  bpp?: number | undefined;
  /** The best quality whose file is no larger. */
  maxBytes?: number | undefined;
}

/** OptionError for a target that cannot be. */
export function checkTarget(target: Target, lossless?: boolean): void {
  const given = Object.entries(target).filter(([, value]) => value !== undefined && value !== null);
  if (lossless && given.length)
    throw new OptionError(`lossless and ${given[0]![0]} exclude each other; give one of them`);
  if (given.length > 1)
    throw new OptionError(`${given.map(([name]) => name).join(" and ")} exclude each other; give one of them`);
  for (const [name, value] of given)
    if (typeof value !== "number" || !Number.isFinite(value))
      throw new OptionError(`${name}=${String(value)} is not a number; give a finite number`);
  const { quality, bpp, maxBytes } = target;
  if (quality !== undefined && !(quality >= 1 && quality <= 100))
    throw new OptionError(`quality=${quality}: it runs from 1 (smallest file) to 100 (best picture)`);
  if (bpp !== undefined && !(bpp > 0))
    throw new OptionError(`bpp=${bpp}: give more than 0; the range is about 0.05 to 1.5`);
  if (maxBytes !== undefined && !(maxBytes >= 1)) throw new OptionError(`maxBytes=${maxBytes}: give at least 1`);
}
