import { SharedChat } from "@/features/chat";

/** A shared chat, without anything that needs a sign-in. */
export function SharedPage({ token }: { token: string }) {
  return <SharedChat key={token} token={token} />;
}
