import { expect, test } from "vitest";
import { pieces, spelledOut } from "./hidden";

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
  expect(spelledOut(values)).toContain("a\\u202eb\\udb40\\udc41");
  expect(JSON.parse(spelledOut(values))).toEqual(values);
});
