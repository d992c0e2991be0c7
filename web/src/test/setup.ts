import { cleanup } from "@testing-library/react";
import { afterEach, beforeEach, vi } from "vitest";

// What jsdom lacks.
class ResizeObserverStub implements ResizeObserver {
  observe() {}
  unobserve() {}
  disconnect() {}
}
globalThis.ResizeObserver ??= ResizeObserverStub;
globalThis.PointerEvent ??= class extends MouseEvent {} as typeof PointerEvent;
Element.prototype.scrollIntoView ??= () => undefined;
Element.prototype.scrollTo ??= () => undefined;
window.scrollTo = () => undefined;
Element.prototype.getAnimations ??= () => [];

/** Answer media queries as a wide screen with a mouse does. A test may replace it. */
const matchMedia = (media: string) => ({
  media,
  matches: /min-width|pointer: fine/.test(media),
  addEventListener: () => undefined,
  removeEventListener: () => undefined,
});
globalThis.matchMedia = matchMedia as unknown as typeof globalThis.matchMedia; // some modules ask when they load
beforeEach(() => void vi.stubGlobal("matchMedia", matchMedia));

afterEach(() => {
  cleanup();
  localStorage.clear();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});
