import { expect, test } from "vitest";
import { asText, parseExactly, pieces, spelledOut } from "./hidden";

test("what would not be seen is named", () => {
  expect(pieces("pay\u202eeom\u200b!")).toEqual([
    { text: "pay", isHidden: false },
    { text: "U+202E", isHidden: true },
    { text: "eom", isHidden: false },
    { text: "U+200B", isHidden: true },
    { text: "!", isHidden: false },
  ]);
  expect(pieces("\u{e0041}").map((piece) => piece.text)).toEqual(["U+E0041"]);
});

test("what is seen stays as it is", () => {
  const text = "Ñandú 面包\n\ttab, emoji 🜚";
  expect(pieces(text)).toEqual([{ text, isHidden: false }]);
  expect(pieces("")).toEqual([]);
});

test("what is edited says what is hidden, and means the same", () => {
  const values = { text: "a\u202eb\u{e0041}\n" };
  const spelled = spelledOut(JSON.stringify(values));
  expect(spelled).toContain("a\\u202eb\\udb40\\udc41");
  expect(JSON.parse(spelled)).toEqual(values);
});

test("long numbers are shown to the last digit, also within others", () => {
  const values = parseExactly(
    '{"id": 9007199254740993, "list": [1, 12345678901234567890, 0.5], "text": "x"}',
  );
  // Not every engine tells how a number was written; where one does, nothing is lost.
  const tells = JSON.parse(
    "9007199254740993",
    ((_: string, __: unknown, context?: { source?: string }) => context?.source) as Parameters<
      typeof JSON.parse
    >[1],
  );
  expect(asText(values.text)).toBe("x");
  if (tells === undefined) return;
  expect(asText(values.id)).toBe("9007199254740993");
  expect(asText(values.list)).toBe("[\n  1,\n  12345678901234567890,\n  0.5\n]");
});
