/** The choice of a source from srcset and sizes, as <img> makes it. */

interface Candidate {
  address: string;
  width?: number;
  density?: number;
}

/** The candidates of a srcset attribute; those that cannot be understood are left out. */
export function candidates(srcset: string): Candidate[] {
  const found: Candidate[] = [];
  // an address has no spaces; a comma may stand in it, but not at its end
  for (const match of srcset.matchAll(/\s*,*\s*(\S*[^\s,])(?:\s+([^,]+))?\s*(?:,|$)/g)) {
    const [, address, descriptor = "1x"] = match;
    const parts = /^(\d+)w$|^(\d+(?:\.\d+)?)x$/.exec(descriptor.trim());
    if (parts?.[1]) found.push({ address: address!, width: Number(parts[1]) });
    else if (parts?.[2]) found.push({ address: address!, density: Number(parts[2]) });
  }
  return found;
}

/** The width in CSS pixels that `sizes` gives: the first whose condition holds. */
export function slotWidth(sizes: string | null, matches: (media: string) => boolean, viewport: number): number {
  for (const entry of (sizes ?? "").split(",")) {
    const parts = /^\s*(.*?)\s*([\d.]+)(px|vw|em|rem)\s*$/.exec(entry);
    if (!parts || (parts[1] && !matches(parts[1]))) continue;
    const unit = { px: 1, vw: viewport / 100, em: 16, rem: 16 }[parts[3] as "px" | "vw" | "em" | "rem"];
    return Number(parts[2]) * unit;
  }
  return viewport;
}

/** The address to load: the smallest that has enough pixels for this screen, else the largest; null without srcset. */
export function chosen(srcset: string | null, sizes: string | null): string | null {
  const all = srcset ? candidates(srcset) : [];
  if (!all.length) return null;
  const slot = slotWidth(sizes, (media) => matchMedia(media).matches, innerWidth);
  const dense = all.map(({ address, width, density }) => ({ address, density: density ?? width! / Math.max(1, slot) }));
  dense.sort((a, b) => a.density - b.density);
  return (dense.find(({ density }) => density >= devicePixelRatio) ?? dense[dense.length - 1]!).address;
}
