import { screen, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import type { Report, Sizes } from "../queries";
import { LargestUsers } from "./largest-users";
import { SecurityReport } from "./security-report";

const ago = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString();
const note = (days: number) => ({ at: ago(days), made_at: ago(days), file: "all.zip", rows: 1200, files: 3 });

const GOOD: Report = {
  version: "0.3.0",
  python_version: "3.11.7",
  database: "sqlite",
  exposure: "tls",
  vulnerabilities: { refreshed_at: ago(1), source: "osv", problem: null, packages: 60, affected: [] },
  changed_limits: [],
  unused_tokens: [],
  failed_sign_ins: [],
  last_backup: note(1),
  last_tested_restore: note(20),
};

function open(report: Partial<Report>) {
  fakeServer({ "GET /security-report": { ...GOOD, ...report } });
  return renderApp(<SecurityReport />);
}

/** The titles of what needs attention. */
async function attention() {
  const items = await screen.findAllByRole("listitem");
  return items
    .filter((item) => within(item).queryByLabelText("Needs attention"))
    .map((item) => within(item).getAllByRole("heading")[0]?.textContent);
}

describe("the security of a server", () => {
  it("is good if everything was done", async () => {
    open({});
    expect(await attention()).toEqual([]);
    expect(screen.getAllByLabelText("Good")).toHaveLength(7);
  });

  it("says what was never done, and how to do it", async () => {
    open({
      exposure: "without_tls",
      vulnerabilities: { refreshed_at: null, source: null, problem: null, packages: 60, affected: [] },
      last_backup: null,
      last_tested_restore: null,
    });
    expect(await attention()).toEqual([
      "Encryption",
      "Known vulnerabilities",
      "Last backup",
      "Last tested restore",
    ]);
    for (const command of [
      "tertulia security refresh",
      "tertulia backup FILE",
      "tertulia restore --test FILE",
    ]) {
      expect(screen.getByText(command)).toBeTruthy();
    }
  });

  it("warns of what was done too long ago", async () => {
    open({
      vulnerabilities: { ...GOOD.vulnerabilities, refreshed_at: ago(31) },
      last_backup: note(8),
      last_tested_restore: note(91),
    });
    expect(await attention()).toEqual(["Known vulnerabilities", "Last backup", "Last tested restore"]);
  });

  it("lists vulnerabilities, tokens, failed sign-ins and changed limits", async () => {
    open({
      vulnerabilities: {
        ...GOOD.vulnerabilities,
        affected: [
          {
            id: "GHSA-1",
            package: "parser",
            version: "2.4.1",
            summary: "Reads too much",
            severity: "high",
            fixed_in: "2.5",
          },
        ],
      },
      unused_tokens: [{ username: "ana", count: 2, last_used_at: null }],
      failed_sign_ins: [{ username: "ben", count: 1200, last_at: ago(0) }],
      changed_limits: [{ setting: "TERTULIA_CHATS_PER_USER", value: "0", default: "100000" }],
    });
    expect(await attention()).toEqual(["Known vulnerabilities", "Failed sign-ins", "Unused API tokens"]);
    expect(screen.getByRole("link", { name: "GHSA-1" }).getAttribute("href")).toBe(
      "https://osv.dev/vulnerability/GHSA-1",
    );
    expect(screen.getByText(/fixed in 2.5/)).toBeTruthy();
    expect(screen.getByText("ana").closest("tr")?.textContent).toContain("never");
    expect(screen.getByText("1,200")).toBeTruthy();
    expect(screen.getByText("TERTULIA_CHATS_PER_USER")).toBeTruthy();
  });

  it("says why it cannot be shown, and tries again", async () => {
    let tries = 0;
    fakeServer({
      "GET /security-report": () =>
        ++tries === 1 ? problem(403, "admin_only", "Only an administrator can do this.") : GOOD,
    });
    const { user } = renderApp(<SecurityReport />);
    await screen.findByText("Only an administrator can do this.");
    await user.click(screen.getByRole("button", { name: "Try again" }));
    await screen.findByText("Encryption");
  });
});

describe("the largest users", () => {
  const open = (sizes: Sizes) => {
    fakeServer({ "GET /largest-users": sizes });
    return renderApp(<LargestUsers />);
  };

  it("are listed with what they store", async () => {
    open({
      counted_at: ago(0),
      users: [
        {
          id: "u",
          username: "ana",
          name: "Ana",
          chats: 3,
          messages: 12_345,
          drafts: 2,
          versions: 5,
          files: 7,
          file_bytes: 5 * 1024 * 1024,
        },
      ],
    });
    const row = (await screen.findByText("Ana")).closest("tr");
    expect(row?.textContent).toContain("12,345");
    expect(row?.textContent).toContain("7 · 5 MB");
  });

  it("says that nothing was counted yet", async () => {
    open({ counted_at: null, users: [] });
    await screen.findByText("Not counted yet. The server counts once an hour.");
  });
});
