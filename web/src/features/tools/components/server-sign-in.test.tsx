import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import { ServerSignIn, SignInBack } from "./server-sign-in";

const BEGIN = "POST /tool-servers/s1/sign-in";
const FINISH = "POST /tool-servers/sign-in";
const ASKED = {
  host: "login.example.org",
  token_host: "login.example.org",
  url: "https://login.example.org/authorize?state=1",
  scope: null as string | null,
};

function open(answer: object) {
  const server = fakeServer({ [BEGIN]: answer });
  return { server, ...renderApp(<ServerSignIn serverId="s1" name="issues" />) };
}

describe("signing in to a server", () => {
  it("asks once, and says where the sign-in happens before it leads there", async () => {
    const { server } = open(ASKED);
    const link = await screen.findByRole("link", { name: "Go to login.example.org" });
    expect(link.getAttribute("href")).toBe(ASKED.url);
    expect(link.getAttribute("rel")).toBe("noreferrer");
    expect(server.bodies(BEGIN)).toEqual([{}]);
    expect(screen.queryByText(/go on only if both belong together/)).toBeNull();
  });

  it("warns when the token is fetched from another host", async () => {
    open({ ...ASKED, token_host: "tokens.example.net", scope: "read write" });
    await screen.findByText("tokens.example.net");
    screen.getByText(/go on only if both belong together/);
    screen.getByText("read write");
  });

  it("asks for a client when the server registers none, and sends what was entered", async () => {
    const { server, user } = open(
      problem(422, "invalid", "Enter the client id that you got there.", {
        errors: [{ field: "client_id", message: "It is missing." }],
      }),
    );
    await screen.findByText("Enter the client id that you got there.");
    await user.type(screen.getByLabelText("Client id"), " tertulia ");
    await user.type(screen.getByLabelText("Client secret"), "hidden");
    server.set(BEGIN, ASKED);
    await user.click(screen.getByRole("button", { name: "Go on" }));
    await screen.findByRole("link", { name: "Go to login.example.org" });
    expect(server.bodies(BEGIN)[1]).toEqual({ client_id: "tertulia", client_secret: "hidden" });
  });

  it("offers to try again when the server does not answer", async () => {
    const { server, user } = open(problem(502, "unreachable", "issues does not answer."));
    await screen.findByText("issues does not answer.");
    expect(screen.queryByLabelText("Client id")).toBeNull();
    server.set(BEGIN, ASKED);
    await user.click(screen.getByRole("button", { name: "Try again" }));
    await screen.findByRole("link", { name: "Go to login.example.org" });
  });
});

describe("coming back from a sign-in", () => {
  function comeBack(search: string, answer: object) {
    vi.stubGlobal("location", { ...window.location, search });
    const server = fakeServer({ [FINISH]: answer });
    const onDone = vi.fn();
    return { server, onDone, ...renderApp(<SignInBack onDone={onDone} />) };
  }

  it("sends what was brought back, and nothing else", async () => {
    const { server, onDone } = comeBack("?state=s-1&code=c-1&iss=https://login.example.org&junk=1", {
      name: "issues",
    });
    await waitFor(() => expect(onDone).toHaveBeenCalledWith("issues"));
    expect(server.bodies(FINISH)).toEqual([{ state: "s-1", code: "c-1", iss: "https://login.example.org" }]);
  });

  it("uses a state once, also when the page is drawn again", async () => {
    const first = comeBack("?state=s-2&code=c-2", { name: "issues" });
    await waitFor(() => expect(first.onDone).toHaveBeenCalled());
    first.unmount();
    const second = comeBack("?state=s-2&code=c-2", { name: "another" });
    await waitFor(() => expect(second.onDone).toHaveBeenCalledWith("issues"));
    expect(second.server.calls).toEqual([]);
  });

  it("says why the sign-in failed", async () => {
    const { server } = comeBack(
      "?state=s-3&error=access_denied&error_description=No",
      problem(422, "sign_in_refused", "The sign-in was refused: No"),
    );
    await screen.findByText("The sign-in was refused: No");
    expect(server.bodies(FINISH)).toEqual([
      { state: "s-3", error: "access_denied", error_description: "No" },
    ]);
  });
});
