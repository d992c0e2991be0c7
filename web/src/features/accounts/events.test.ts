import { QueryClient } from "@tanstack/react-query";
import { describe, expect, it, vi } from "vitest";
import { accountChanges } from "./events";

const me = (preferences: object) => ({ id: "u1", preferences }) as never;

describe("a change of the own account", () => {
  it.each([
    [{ favourite_models: ["openai/a"] }, {}, true],
    [{ model_windows: { "openai/a": 4096 } }, { model_windows: { "openai/a": 8192 } }, true],
    [{ default_model: "openai/a" }, { default_model: null }, true],
    [{ theme: "dark" }, { theme: "light" }, false],
  ])("from %j to %j loads the models again: %s", (before, after, isLoaded) => {
    const client = new QueryClient();
    client.setQueryData(["me"], me(before));
    const invalidate = vi.spyOn(client, "invalidateQueries");
    accountChanges.user?.(client, { payload: me(after) } as never);
    expect(client.getQueryData(["me"])).toEqual(me(after));
    expect(invalidate.mock.calls.some(([filter]) => filter?.queryKey?.[0] === "models")).toBe(isLoaded);
  });
});
