/** Two pictures on top of each other with a boundary between them that follows a range input, the pointer and the keys. */
export class Slider {
  private scale: number | "fit" = "fit";

  constructor(
    private readonly view: HTMLElement,
    private readonly stage: HTMLElement,
    private readonly pictures: readonly [HTMLImageElement, HTMLImageElement],
    private readonly range: HTMLInputElement,
    private readonly zoomed: (scale: number | "fit") => void,
  ) {
    range.addEventListener("input", () => this.place());
    stage.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button === 0) this.follow(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) this.follow(event);
    });
    view.addEventListener("keydown", (event) => {
      if (event.key === "+" || event.key === "=") this.zoom(this.scale === "fit" ? 1 : Math.min(8, this.scale * 2));
      else if (event.key === "-") this.zoom(this.scale === "fit" || this.scale === 1 ? "fit" : this.scale / 2);
    });
    view.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        const from = this.scale === "fit" ? 1 : this.scale;
        this.zoom(event.deltaY < 0 ? Math.min(8, from * 2) : from === 1 ? "fit" : from / 2);
      },
      { passive: false },
    );
    this.place();
  }

  /** Show an address on a side. */
  show(side: 0 | 1, url: string, alt: string): void {
    const picture = this.pictures[side];
    picture.src = url;
    picture.alt = alt;
    picture.onload = () => this.zoom(this.scale);
  }

  /** Show so many screen pixels for a pixel of the picture, or all of it. The middle stays in the middle. */
  zoom(scale: number | "fit"): void {
    const { view, stage } = this;
    const middle = [
      (view.scrollLeft + view.clientWidth / 2) / Math.max(1, stage.offsetWidth),
      (view.scrollTop + view.clientHeight / 2) / Math.max(1, stage.offsetHeight),
    ] as const;
    this.scale = scale;
    stage.classList.toggle("fit", scale === "fit");
    for (const picture of this.pictures) {
      const width = this.pictures[0].naturalWidth || picture.naturalWidth;
      picture.style.width = scale === "fit" ? "" : `${(width * scale) / devicePixelRatio}px`;
    }
    view.scrollLeft = middle[0] * stage.offsetWidth - view.clientWidth / 2;
    view.scrollTop = middle[1] * stage.offsetHeight - view.clientHeight / 2;
    this.zoomed(scale);
  }

  private follow(event: PointerEvent): void {
    const box = this.stage.getBoundingClientRect();
    this.range.valueAsNumber = Math.round(((event.clientX - box.left) / box.width) * Number(this.range.max));
    this.place();
  }

  private place(): void {
    this.stage.style.setProperty("--at", `${(100 * this.range.valueAsNumber) / Number(this.range.max)}%`);
  }
}
