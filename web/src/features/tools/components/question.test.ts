import { expect, test } from "vitest";
import { filled } from "./question";

test("what was filled in has the types that were asked for, and what was left empty is left out", () => {
  const fields: Parameters<typeof filled>[0] = [
    ["city", { type: "string" }],
    ["nights", { type: "integer" }],
    ["note", { type: "string" }],
    ["isSure", { type: "boolean" }],
    ["meals", { type: "array" }],
  ];
  expect(filled(fields, { city: "Lima", nights: "3", note: "", meals: ["lunch"] })).toEqual({
    city: "Lima",
    nights: 3,
    isSure: false,
    meals: ["lunch"],
  });
});
