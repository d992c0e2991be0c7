import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, test } from "vitest";
import type { Schemas } from "@/api/client";
import { meQuery } from "@/features/accounts";
import type { Tell } from "@/realtime/protocol";
import { keepLive } from "./live-cache";

function live(known: Schemas["UserRead"] | undefined) {
  const client = new QueryClient();
  if (known) client.setQueryData(meQuery.queryKey, known);
  let asked = 0;
  const observer = new QueryObserver(client, {
    ...meQuery,
    queryFn: () => {
      asked += 1;
      return Promise.reject(new Error("nobody"));
    },
    retry: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
  observer.subscribe(() => {});
  let tell: (message: Tell) => void = () => {};
  keepLive(client, {
    listen: (listener) => {
      tell = listener;
      return () => true;
    },
  });
  return {
    asked: () => asked,
    tell: (message: Tell) => tell(message),
    settle: () => new Promise((r) => setTimeout(r, 5)),
  };
}

test("whoever is not in yet is not asked for again when the stream is refused", async () => {
  const page = live(undefined);
  await page.settle();
  page.tell({ tell: "connection", state: "signed-out" });
  await page.settle();
  expect(page.asked()).toBe(1); // the form where one signs in, and what is typed into it, stays
});

test("whoever was signed out elsewhere is asked who they are", async () => {
  const page = live({ id: "1" } as Schemas["UserRead"]);
  await page.settle();
  page.tell({ tell: "connection", state: "signed-out" });
  await page.settle();
  expect(page.asked()).toBe(1);
});
