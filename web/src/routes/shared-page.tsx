import { SharedChat } from "@/features/chat";

/** A chat as strangers see it, outside of everything that needs a sign-in. */
export function SharedPage({ token }: { token: string }) {
  return <SharedChat key={token} token={token} />;
}
