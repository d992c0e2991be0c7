import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { throttled } from "./throttled";

describe("work that is wanted often", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("is done at once, then once in each time, and a last time", () => {
    const work = vi.fn();
    const want = throttled(1000, work);
    for (let number = 0; number < 3; number++) want();
    expect(work).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(999);
    expect(work).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(1);
    expect(work).toHaveBeenCalledTimes(2);
    vi.advanceTimersByTime(5000);
    expect(work).toHaveBeenCalledTimes(2);
    want();
    expect(work).toHaveBeenCalledTimes(3);
  });
});
