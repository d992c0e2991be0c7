import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { makeCall } from "@/test/factories";
import { chooseOption, renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import type { Question } from "../queries";
import { filled, QuestionForm } from "./question";

const ANSWER = "POST /tool-executions/t1/answer";
const FORM = {
  properties: {
    city: { type: "string", title: "City", description: "Where you go." },
    nights: { type: "integer", title: "Nights", minimum: 1, maximum: 9, default: 2 },
    room: { type: "string", title: "Room", enum: ["s", "d"], enumNames: ["Single", "Double"] },
    meals: {
      type: "array",
      title: "Meals",
      items: {
        anyOf: [
          { const: "l", title: "Lunch" },
          { const: "d", title: "Dinner" },
        ],
      },
    },
    sure: { type: "boolean", title: "Sure" },
    mail: { type: "string", title: "Mail", format: "email" },
  },
  required: ["city"],
};

function open(fields: Partial<Question> = {}, answer: object = makeCall()) {
  const question = { id: "q1", message: "Where do you go?", form: FORM, url: null, ...fields } as Question;
  const server = fakeServer({ [ANSWER]: answer });
  const call = makeCall({ server: "travel", question });
  return { server, ...renderApp(<QuestionForm call={call} question={question} />) };
}

describe("what was filled in", () => {
  it("has the types that were asked for, without what was left empty", () => {
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
});

describe("a question of a tool", () => {
  it("says who asks, and shows its defaults and limits", async () => {
    open();
    await screen.findByText("travel asks:");
    screen.getByText("Where do you go?");
    const nights = screen.getByLabelText<HTMLInputElement>("Nights (may be left empty)");
    expect([nights.value, nights.min, nights.max, nights.step]).toEqual(["2", "1", "9", "1"]);
    expect(screen.getByLabelText<HTMLInputElement>("Mail (may be left empty)").type).toBe("email");
    expect(screen.getByLabelText<HTMLInputElement>("City").required).toBe(true);
  });

  it("sends the answers as their types", async () => {
    const { server, user } = open();
    await user.type(await screen.findByLabelText("City"), "Lima");
    await chooseOption(user, "Room (may be left empty)", "Double");
    await user.click(screen.getByRole("checkbox", { name: "Lunch" }));
    await user.click(screen.getByRole("checkbox", { name: "Dinner" }));
    await user.click(screen.getByRole("checkbox", { name: "Lunch" }));
    await user.click(screen.getByRole("checkbox", { name: "Sure" }));
    await user.click(screen.getByRole("button", { name: "Send" }));
    await waitFor(() => expect(server.bodies(ANSWER)).toHaveLength(1));
    expect(server.bodies(ANSWER)[0]).toEqual({
      question_id: "q1",
      action: "accept",
      content: { city: "Lima", nights: 2, room: "d", meals: ["d"], sure: true },
    });
  });

  it.each([
    ["Decline", "decline"],
    ["Dismiss", "cancel"],
  ])("sends nothing that was typed on %s", async (name, action) => {
    const { server, user } = open();
    await user.type(await screen.findByLabelText("City"), "Lima");
    await user.click(screen.getByRole("button", { name }));
    await waitFor(() => expect(server.bodies(ANSWER)).toEqual([{ question_id: "q1", action }]));
  });

  it("names the host of a page to open, and sends no content", async () => {
    const { server, user } = open({ form: null, url: "https://pay.example.org/x?y=1" });
    const link = await screen.findByRole("link", { name: "pay.example.org" });
    expect(link.getAttribute("rel")).toBe("noopener noreferrer");
    await user.click(screen.getByRole("button", { name: "I have done so" }));
    await waitFor(() => expect(server.bodies(ANSWER)).toEqual([{ question_id: "q1", action: "accept" }]));
  });

  it("keeps what was typed when the answer is refused", async () => {
    const { user } = open({}, problem(422, "invalid", "Nights must be at most 9."));
    await user.type(await screen.findByLabelText("City"), "Lima");
    await user.click(screen.getByRole("button", { name: "Send" }));
    await screen.findByText("Nights must be at most 9.");
    expect(screen.getByLabelText<HTMLInputElement>("City").value).toBe("Lima");
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Send" }).disabled).toBe(false);
  });

  it("shows hidden characters of the question", async () => {
    open({ message: "Sure\u200b?" });
    await screen.findByText("U+200B");
  });
});
