/** The element <dpc-img>: an <img> whose source is a .dpc file. Importing this file defines it. */
import { decodedOnce } from "./pictures.js";
import { chosen } from "./srcset.js";

const MIRRORED = [
  "alt",
  "title",
  "decoding",
  "fetchpriority",
  "draggable",
  "ismap",
  "usemap",
  "referrerpolicy",
] as const;
const STYLE = `:host { display: inline-block; max-width: 100%; }
:host([hidden]) { display: none; }
img { display: block; width: 100%; height: 100%; object-fit: inherit; object-position: inherit; border-radius: inherit; }`;

/**
 * Attributes as on <img>: src, srcset, sizes, alt, width, height, loading (lazy, eager), decoding, title. Events: load, error
 * (its detail is the error), progress. What assistive technology sees is the <img> inside.
 */
export class DPCImageElement extends HTMLElement {
  static readonly observedAttributes = ["src", "srcset", "sizes", "width", "height", "loading", ...MIRRORED];

  private readonly img = document.createElement("img");
  private readonly sheet = new CSSStyleSheet();
  private address: string | null = null;
  private given: AbortController | null = null;
  private objectURL: string | null = null;
  /** The address of the picture that is shown. */
  private ready: string | null = null;
  private failure: Error | null = null;
  private waits: { resolve: () => void; reject: (error: Error) => void }[] = [];
  private readonly widths = new ResizeObserver(() => this.update());

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const style = new CSSStyleSheet();
    style.replaceSync(STYLE);
    root.adoptedStyleSheets = [style, this.sheet];
    this.img.part.add("img");
    root.append(this.img);
  }

  connectedCallback(): void {
    this.update();
    if (this.hasAttribute("srcset")) this.widths.observe(document.documentElement);
  }

  disconnectedCallback(): void {
    near.unobserve(this);
    this.widths.disconnect();
    this.given?.abort();
    this.given = null;
    if (!this.complete) this.address = null; // begins anew when it is put back
  }

  attributeChangedCallback(name: string, _old: string | null, value: string | null): void {
    if ((MIRRORED as readonly string[]).includes(name)) {
      if (value === null) this.img.removeAttribute(name);
      else this.img.setAttribute(name, value);
    } else if (name === "width" || name === "height") this.size();
    else if (this.isConnected) this.update();
  }

  get src(): string {
    const src = this.getAttribute("src");
    return src === null ? "" : new URL(src, document.baseURI).href;
  }
  set src(value: string) {
    this.setAttribute("src", value);
  }
  get alt(): string {
    return this.getAttribute("alt") ?? "";
  }
  set alt(value: string) {
    this.setAttribute("alt", value);
  }
  get loading(): string {
    return this.getAttribute("loading") === "lazy" ? "lazy" : "eager";
  }
  set loading(value: string) {
    this.setAttribute("loading", value);
  }
  /** The address of the picture that is shown or on its way. */
  get currentSrc(): string {
    return this.address ?? "";
  }
  /** Whether nothing is on its way: the picture is there, failed, or was never named. */
  get complete(): boolean {
    return this.address === null || this.ready === this.address || this.failure !== null;
  }
  get naturalWidth(): number {
    return this.objectURL ? this.img.naturalWidth : 0;
  }
  get naturalHeight(): number {
    return this.objectURL ? this.img.naturalHeight : 0;
  }
  /** Resolves when the picture can be shown; rejects with the error when it cannot. */
  decode(): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    if (this.address !== null && this.ready === this.address) return this.img.decode();
    return new Promise((resolve, reject) => this.waits.push({ resolve, reject }));
  }

  /** The size that width and height give, kept free before the picture comes; CSS of the page wins. */
  private size(): void {
    const [width, height] = ["width", "height"].map((name) => parseInt(this.getAttribute(name) ?? "", 10));
    const rules = [];
    if (width! >= 0) rules.push(`width: ${width}px`);
    if (height! >= 0 && !(width! >= 0)) rules.push(`height: ${height}px`);
    if (width! > 0 && height! > 0) rules.push(`aspect-ratio: ${width} / ${height}`);
    this.sheet.replaceSync(rules.length ? `:host { ${rules.join("; ")} }` : "");
  }

  /** Look at the attributes: another address begins another picture. */
  private update(): void {
    const source = chosen(this.getAttribute("srcset"), this.getAttribute("sizes")) ?? this.getAttribute("src");
    const address = source?.trim() ? new URL(source, document.baseURI).href : null;
    if (address !== this.address) {
      this.given?.abort();
      this.given = null;
      this.failure = null;
      this.address = address;
      if (address === null) this.show((this.ready = null));
      else if (this.loading === "lazy") near.observe(this);
      else this.start();
    } else if (this.loading === "eager" && !this.complete && !this.given) this.start();
  }

  /** Fetch and decode the picture; called when it is wanted, or near enough. */
  start(): void {
    near.unobserve(this);
    const address = this.address;
    if (address === null || this.given) return;
    const given = (this.given = new AbortController());
    const onProgress = (progress: { stage: string; share: number }) => {
      if (this.given === given) this.dispatchEvent(new CustomEvent("progress", { detail: progress }));
    };
    decodedOnce(address, { signal: given.signal, onProgress })
      .then(async (blob) => {
        if (this.given !== given) return;
        this.show(blob);
        await this.img.decode();
        if (this.given === given) this.finish(null);
      })
      .catch((error: unknown) => {
        if (this.given === given) this.finish(error instanceof Error ? error : new Error(String(error)));
      });
  }

  private finish(error: Error | null): void {
    this.given = null;
    this.failure = error;
    this.ready = error ? null : this.address;
    if (error) this.show(null);
    const waits = this.waits.splice(0);
    for (const wait of waits) {
      if (error) wait.reject(error);
      else wait.resolve();
    }
    this.dispatchEvent(error ? new CustomEvent("error", { detail: error }) : new Event("load"));
  }

  private show(blob: Blob | null): void {
    if (this.objectURL) URL.revokeObjectURL(this.objectURL);
    this.objectURL = blob && URL.createObjectURL(blob);
    if (this.objectURL) this.img.src = this.objectURL;
    else this.img.removeAttribute("src");
  }
}

/** Starts lazy pictures that come near the part of the page that is seen. */
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) (target as DPCImageElement).start();
  },
  { rootMargin: "1250px" },
);

customElements.define("dpc-img", DPCImageElement);

declare global {
  interface HTMLElementTagNameMap {
    "dpc-img": DPCImageElement;
  }
}
