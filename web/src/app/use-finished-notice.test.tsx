import { act, waitFor } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { channelsQuery } from "@/features/projects";
import { makeChannel } from "@/test/factories";
import { renderApp } from "@/test/render";
import { fakeServer } from "@/test/server";
import { useFinishedNotice } from "./use-finished-notice";

function Room() {
  useFinishedNotice();
  return <p>Room</p>;
}

afterEach(() => vi.restoreAllMocks());

describe("a hidden window", () => {
  it("says in its title that its user is mentioned, until it is shown", async () => {
    fakeServer({});
    document.title = "Garden · Tertulia";
    const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    const { client, findByText } = renderApp(<Room />);
    await findByText("Room");
    const count = (mentions: number) =>
      act(async () => {
        client.setQueryData(channelsQuery.queryKey, [makeChannel({ mention_count: mentions })]);
        await new Promise((resolve) => setTimeout(resolve)); // observers hear of it with the next turn
      });
    await count(2); // those of before
    expect(document.title).toBe("Garden · Tertulia");
    await count(3);
    await waitFor(() => expect(document.title).toBe("● Garden · Tertulia"));
    hidden.mockReturnValue(false);
    document.dispatchEvent(new Event("visibilitychange"));
    expect(document.title).toBe("Garden · Tertulia");
    await count(4); // the window is looked at
    expect(document.title).toBe("Garden · Tertulia");
  });
});
