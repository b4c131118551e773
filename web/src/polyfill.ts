/**
 * Makes <img src="x.dpc">, <picture><source type="image/x-dpc"> and CSS backgrounds work, for what is on the page and for
 * what is added later. Opt-in: import this file. What the element shows is a PNG in memory; its own address is kept in
 * data-dpc-src. `image-set()` with a type, and style sheets of other hosts, are left alone.
 */
import { decodedOnce } from "./pictures.js";
import { chosen } from "./srcset.js";

const TYPE = "image/x-dpc";
const KEPT = "dpcSrc"; // data-dpc-src

/** Whether an address names a .dpc file. */
export function isDPC(address: string): boolean {
  return /\.dpc$/i.test(address.split(/[?#]/, 1)[0]!.trim());
}

/** Images whose own failure (no browser knows the format) is not to be heard by the page. */
const quiet = new WeakSet<HTMLImageElement>();

addEventListener(
  "error",
  (event) => {
    if (event.target instanceof HTMLImageElement && event.isTrusted && quiet.has(event.target))
      event.stopImmediatePropagation();
  },
  true,
);

/** Work that waits until an image comes near the part of the page that is seen. */
const lazy = new Map<Element, () => void>();
const near = new IntersectionObserver(
  (seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      lazy.get(target)?.();
      lazy.delete(target);
    }
  },
  { rootMargin: "1250px" },
);

function whenNear(element: HTMLImageElement, work: () => void): void {
  if (element.loading !== "lazy") return work();
  lazy.set(element, work);
  near.observe(element);
}

/** Put a decoded picture in the place of `address`; on failure the element hears of it as of any broken picture. */
async function fill(
  image: HTMLImageElement,
  address: string,
  still: () => boolean,
  put: (url: string) => void,
): Promise<void> {
  try {
    const url = URL.createObjectURL(await decodedOnce(address));
    if (!still()) return URL.revokeObjectURL(url);
    quiet.delete(image);
    image.addEventListener("load", () => setTimeout(() => URL.revokeObjectURL(url)), { once: true });
    put(url);
  } catch (error) {
    quiet.delete(image);
    if (still()) image.dispatchEvent(new CustomEvent("error", { detail: error }));
  }
}

function lookAtImage(image: HTMLImageElement): void {
  const source = sourceOf(image);
  if (source) return lookAtSource(image, source);
  const address = image.getAttribute("src");
  const wanted = chosenDPC(image) ?? (address && isDPC(address) ? address : null);
  if (!wanted) return;
  const absolute = new URL(wanted, document.baseURI).href;
  image.dataset[KEPT] = absolute;
  quiet.add(image);
  whenNear(image, () => {
    const still = () => image.dataset[KEPT] === absolute;
    void fill(image, absolute, still, (url) => {
      image.removeAttribute("srcset");
      image.src = url;
    });
  });
}

/** The .dpc address that an image's srcset gives for this screen. */
function chosenDPC(image: HTMLImageElement): string | null {
  const address = chosen(image.getAttribute("srcset"), image.getAttribute("sizes"));
  return address && isDPC(address) ? address : null;
}

/** The first source of an image's <picture> that is a DPC picture and whose media holds, if no other comes before it. */
function sourceOf(image: HTMLImageElement): HTMLSourceElement | null {
  if (!(image.parentElement instanceof HTMLPictureElement)) return null;
  for (const sibling of image.parentElement.children) {
    if (sibling === image) return null;
    if (!(sibling instanceof HTMLSourceElement) || (sibling.media && !matchMedia(sibling.media).matches)) continue;
    if (sibling.type === TYPE) return sibling;
    if (sibling.dataset[KEPT]) return null; // shown already
  }
  return null;
}

function lookAtSource(image: HTMLImageElement, source: HTMLSourceElement): void {
  const address = chosen(source.getAttribute("srcset"), source.getAttribute("sizes"));
  if (!address) return;
  const absolute = new URL(address, document.baseURI).href;
  source.dataset[KEPT] = absolute;
  quiet.add(image);
  whenNear(image, () => {
    const still = () => source.dataset[KEPT] === absolute && source.isConnected;
    void fill(image, absolute, still, (url) => {
      source.removeAttribute("sizes");
      source.srcset = url;
      source.type = "image/png";
    });
  });
}

const URLS = /url\(\s*(?:"([^"]*)"|'([^']*)'|([^)"']*?))\s*\)/g;
const PROPERTIES = ["background-image", "list-style-image", "border-image-source", "mask-image"];

/** Replace the .dpc addresses in a block of CSS declarations, as soon as they are decoded. */
function lookAtStyle(style: CSSStyleDeclaration, base: string): void {
  for (const property of PROPERTIES) {
    const value = style.getPropertyValue(property);
    if (!value.includes(".dpc")) continue;
    const wanted = [...value.matchAll(URLS)].map((m) => m[1] ?? m[2] ?? m[3] ?? "").filter(isDPC);
    if (!wanted.length) continue;
    const whole = wanted.map(async (address) => URL.createObjectURL(await decodedOnce(new URL(address, base).href)));
    Promise.all(whole).then(
      (urls) => {
        if (style.getPropertyValue(property) !== value) return; // the page has changed it
        const known = new Map(wanted.map((address, i) => [address, urls[i]!]));
        const changed = value.replace(URLS, (url, a?: string, b?: string, c?: string) => {
          const found = known.get(a ?? b ?? c ?? "");
          return found ? `url("${found}")` : url;
        });
        style.setProperty(property, changed, style.getPropertyPriority(property));
      },
      (error: unknown) => console.warn(`${property}: ${String(error)}`),
    );
  }
}

const seenSheets = new WeakSet<CSSStyleSheet>();

function lookAtSheets(): void {
  for (const sheet of [...document.styleSheets, ...document.adoptedStyleSheets]) {
    if (seenSheets.has(sheet)) continue;
    try {
      lookAtRules(sheet.cssRules, sheet.href ?? document.baseURI);
    } catch {
      // a sheet of another host, or one that has not come yet
      if (sheet.href === null || new URL(sheet.href).origin === location.origin) continue;
    }
    seenSheets.add(sheet);
  }
}

function lookAtRules(rules: CSSRuleList, base: string): void {
  for (const rule of rules) {
    if (rule instanceof CSSImportRule && rule.styleSheet)
      lookAtRules(rule.styleSheet.cssRules, rule.styleSheet.href ?? base);
    if (rule instanceof CSSStyleRule) lookAtStyle(rule.style, base);
    if ("cssRules" in rule) lookAtRules(rule.cssRules as CSSRuleList, base);
  }
}

function lookAt(node: Node): void {
  if (!(node instanceof Element)) return;
  if (node instanceof HTMLImageElement) lookAtImage(node);
  if (node instanceof HTMLSourceElement && node.parentElement instanceof HTMLPictureElement) {
    const image = node.parentElement.querySelector("img");
    if (image) lookAtImage(image);
  }
  if (node instanceof HTMLElement && node.style.length) lookAtStyle(node.style, document.baseURI);
  if (node instanceof HTMLStyleElement || node instanceof HTMLLinkElement) {
    if (node instanceof HTMLLinkElement) node.addEventListener("load", lookAtSheets, { once: true });
    lookAtSheets();
  }
}

function lookBelow(node: Node): void {
  lookAt(node);
  if (node instanceof Element)
    for (const below of node.querySelectorAll("img, source, style, link, [style]")) lookAt(below);
}

new MutationObserver((changes) => {
  for (const { type, target, addedNodes } of changes) {
    if (type === "childList") addedNodes.forEach(lookBelow);
    else lookAt(target);
  }
}).observe(document, {
  childList: true,
  subtree: true,
  attributes: true,
  attributeFilter: ["src", "srcset", "type", "style"],
});
lookBelow(document.documentElement);
lookAtSheets();
