import { InvitationForm } from "@/features/accounts";

/** Where a person who was invited makes an account, or joins a project. Afterwards the app loads as if it were opened. */
export function InvitationPage({ token }: { token: string }) {
  return (
    <div className="flex h-dvh overflow-y-auto">
      <InvitationForm
        token={token}
        onDone={() => window.location.assign("/")}
        onJoined={(projectId) => window.location.assign(`/p/${projectId}`)}
      />
    </div>
  );
}
