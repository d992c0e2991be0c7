import { describe, expect, it } from "vitest";
import { hasFormulas, withFormulas } from "./formulas";

describe("formulas", () => {
  it("are found in each of the ways that models write them", () => {
    expect(withFormulas("so \\(a^2\\) is")).toBe("so $$a^2$$ is");
    expect(withFormulas("so \\[a^2\\]")).toContain("\n$$\na^2\n$$\n");
    expect(withFormulas("so $a^2$ is")).toBe("so $$a^2$$ is");
    expect(withFormulas("$$a$$")).toBe("$$a$$");
  });
  it("are not money, and not in code", () => {
    for (const text of ["from $5 to $10", "it costs $5.", "`$a$`", "```sh\necho $a $b$\n```", "a \\$5 b$"])
      expect(hasFormulas(withFormulas(text))).toBe(false);
  });
});
