// What the screen can show: checked while the screening is open, and stored with it.

import { $ } from "./page.js";
import { settings } from "./server.js";

export const ratio = () => window.devicePixelRatio || 1;
const windowSize = () => ({
  width: Math.round(document.documentElement.clientWidth * ratio()),
  height: Math.round(window.innerHeight * ratio()),
});

function zoom() {
  // outer sizes are not zoomed, inner ones are; a touch screen has no browser zoom of this kind
  if (matchMedia("(pointer: coarse)").matches || !window.outerWidth) return 0;
  const value = window.outerWidth / window.innerWidth;
  return Math.abs(value - 1) < 0.06 ? 1 : Math.round(20 * value) / 20;
}

function mark(id, kind, text) {
  if ($(id).textContent === text) return;
  $(id).className = kind;
  $(id).textContent = text;
}

export function checkScreen() {
  if ($("screening").hidden) return;
  const size = windowSize();
  const fits = size.width >= settings.width && size.height >= settings.height;
  mark("check-size", fits ? "" : settings.screen === "fit" ? "bad" : "warn", fits
    ? `Size: this window shows ${size.width} × ${size.height} pixels, the largest picture has ${settings.width} × ${settings.height}.`
    : `Size: this window shows ${size.width} × ${size.height} pixels, the largest picture has ${settings.width} × ${settings.height}. ` +
      (settings.screen === "fit" ? "Please enlarge the window, or use a larger screen." : "Turn the screen or enlarge the window if you can; otherwise you will scroll within the picture."));
  const pinch = window.visualViewport ? visualViewport.scale : 1;
  const scale = zoom();
  const zoomed = pinch > 1.01 || (scale && scale !== 1);
  mark("check-zoom", zoomed ? "warn" : "", zoomed
    ? (pinch > 1.01 ? "Zoom: the page is enlarged by a pinch. Please pinch it back." : `Zoom: the browser seems to be at about ${Math.round(100 * scale)} %. Please set it to 100 % (Ctrl or ⌘ and 0).`)
    : "Zoom: 100 %.");
  mark("check-density", "", `Pixel density: ${Math.round(100 * ratio()) / 100}. Pictures are shown pixel by pixel at any density.`);
}
addEventListener("resize", checkScreen);
if (window.visualViewport) visualViewport.addEventListener("resize", checkScreen);

export function tooSmall() {
  const size = windowSize();
  return settings.screen === "fit" && (size.width < settings.width || size.height < settings.height);
}

export function measured() {
  const plates = Array.from(document.querySelectorAll("[name=plate]"), (field) => field.value.trim());
  return { ...windowSize(), ratio: ratio(), zoom: zoom(), touch: matchMedia("(pointer: coarse)").matches, plates };
}
