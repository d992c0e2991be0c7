import { describe, expect, it } from "vitest";
import { dayGroup } from "./dates";
import { allowedLink } from "./links";
import { amountProblem, dollars, typedAmount } from "./money";
import { SseParser } from "./sse";

describe("server-sent events", () => {
  const text = ': hello\n\nid: 1-2\nevent: change\ndata: {"a":1}\n\ndata: plain\n\n';
  it("are the same in pieces of any size", () => {
    for (let size = 1; size <= text.length; size++) {
      const parser = new SseParser();
      const events = [];
      for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
      expect(events).toEqual([
        { id: "1-2", event: "change", data: '{"a":1}' },
        { id: undefined, event: "message", data: "plain" },
      ]);
    }
  });
});

describe("links", () => {
  it("are followed to http, https and mailto only", () => {
    expect(allowedLink("https://example.org/a")?.host).toBe("example.org");
    expect(allowedLink("mailto:a@example.org")?.href).toBe("mailto:a@example.org");
    for (const bad of [
      "javascript:alert(1)",
      " javascript:alert(1)",
      "data:text/html,x",
      "/relative",
      "",
      undefined,
    ])
      expect(allowedLink(bad)).toBeUndefined();
  });
});

describe("days", () => {
  it("are counted by the calendar, not by the hour", () => {
    const now = new Date(2026, 10, 22, 0, 5);
    expect(dayGroup(new Date(2026, 10, 22, 0, 1).toISOString(), now)).toBe("Today");
    expect(dayGroup(new Date(2026, 10, 21, 23, 59).toISOString(), now)).toBe("Yesterday");
    expect(dayGroup(new Date(2026, 10, 16, 12).toISOString(), now)).toBe("Last 7 days");
    expect(dayGroup(new Date(2026, 10, 1, 12).toISOString(), now)).toBe("Last 30 days");
  });
});

describe("amounts", () => {
  it("have as many places as a small one needs, and no more", () => {
    expect(["0", "0.000068", "0.0045", "0.125", "12.5", "1234.567"].map(dollars)).toEqual([
      "$0.00",
      "$0.000068",
      "$0.0045",
      "$0.125",
      "$12.50",
      "$1,234.57",
    ]);
  });

  it("are typed with a point or a comma for decimals, and never guessed", () => {
    const typed = ["20", " 12,5 ", "0.000001", "1000", "0,125", "1,25", "1234,567"];
    expect(typed.map(typedAmount)).toEqual(["20", "12.5", "0.000001", "1000", "0.125", "1.25", "1234.567"]);
    for (const refused of [
      "1,000",
      "12,000,000",
      "abc",
      "-1",
      "1e9",
      "0x10",
      "Infinity",
      "1.2.3",
      "5 €",
      "1.",
    ])
      expect([refused, typedAmount(refused)]).toEqual([refused, undefined]);
    expect(amountProblem("1,000")).toBe(
      "Write 1000, or a point for decimals. A comma here could mean either.",
    );
    expect([amountProblem(""), typedAmount("")]).toEqual([undefined, undefined]);
    expect([amountProblem("1.123456"), amountProblem("1.1234567")]).toEqual([
      undefined,
      "Enter at most 6 decimals.",
    ]);
    expect([amountProblem("7", 0), amountProblem("1.5", 0)]).toEqual([
      undefined,
      "Enter a whole number, such as 20.",
    ]);
  });
});
