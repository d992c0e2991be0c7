import { expect, test } from "vitest";
import { readableEdits } from "./edits";

const block = (find: string, replacement: string) =>
  `<edit>\n<find>${find}</find>\n<replace>${replacement}</replace>\n</edit>`;

test("edits are read as sentences", () => {
  expect(readableEdits(`Two.\n${block("good", "superb")}\n${block("very\nmuch ", "")}`)).toBe(
    "Two.\n\n- “good” becomes “superb”\n\n\n- “very much” goes",
  );
});

test("one that is still being written is not shown", () => {
  expect(readableEdits(`${block("a", "b")}\n<edit>\n<find>half`)).toBe("- “a” becomes “b”\n\n…");
});

test("other text stays as it is", () => {
  expect(readableEdits("An <b>edit</b>")).toBe("An <b>edit</b>");
});
