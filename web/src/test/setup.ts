import { cleanup } from "@testing-library/react";
import { afterEach, beforeEach, vi } from "vitest";

// What browsers have and jsdom has not.
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

/** Whether a media query matches: a wide screen with a mouse. A test may replace it. */
beforeEach(() => {
  vi.stubGlobal("matchMedia", (media: string) => ({
    media,
    matches: /min-width|pointer: fine/.test(media),
    addEventListener: () => undefined,
    removeEventListener: () => undefined,
  }));
});

afterEach(() => {
  cleanup();
  localStorage.clear();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});
