import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Check, Copy } from "lucide-react";
import { type ReactNode, useState } from "react";
import { wordsFor, wordsForField } from "@/api/words";
import { dayOf } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Badge, Row, Section } from "@/ui/section";
import { useToast } from "@/ui/toast";
import { useCopied } from "@/ui/use-copied";
import {
  createInvitation,
  type Invitation,
  invitationsQuery,
  type User,
  withdrawInvitation,
} from "../queries";
import { RoleChoice } from "./role-choice";
import { Listed } from "./security";

export type PlanChoice = (value: string, choose: (planId: string) => void) => ReactNode;

/** The links by which people make their own account, for administrators. */
export function Invitations({ planChoice }: { planChoice: PlanChoice }) {
  return (
    <InvitationList
      title="Invitations"
      hint="A link makes one account, whose password only its owner knows."
      action="Invite a person"
      form={(onCreated, onDone) => (
        <AccountLinkForm planChoice={planChoice} onCreated={onCreated} onDone={onDone} />
      )}
    />
  );
}

/** The links by which people join a project, for its owner. */
export function ProjectInvitations({ projectId }: { projectId: string }) {
  return (
    <InvitationList
      projectId={projectId}
      title="Invitations"
      hint="A link lets one person join."
      action="Invite with a link"
      form={(onCreated, onDone) => (
        <ProjectLinkForm projectId={projectId} onCreated={onCreated} onDone={onDone} />
      )}
    />
  );
}

type ListProps = {
  projectId?: string;
  title: string;
  hint: string;
  action: string;
  form: (onCreated: () => void, onDone: () => void) => ReactNode;
};

function InvitationList({ projectId, title, hint, action, form }: ListProps) {
  const client = useQueryClient();
  const { say } = useToast();
  const query = invitationsQuery(projectId);
  const invitations = useInfiniteQuery(query);
  const [isInviting, setInviting] = useState(false);
  const refresh = () => client.invalidateQueries({ queryKey: query.queryKey });
  const withdrawing = useMutation({
    mutationFn: withdrawInvitation,
    onSuccess: () => say("The link does not work any more."),
    onError: (error) => say(wordsFor(error)),
    onSettled: refresh,
  });
  return (
    <Section title={title} hint={hint} action={<Button onClick={() => setInviting(true)}>{action}</Button>}>
      <Listed query={invitations} empty="No invitations.">
        {(items) =>
          items.map((invitation) => (
            <Row
              key={invitation.id}
              actions={
                stateOf(invitation) === "open" && (
                  <Button
                    disabled={withdrawing.isPending}
                    aria-label={`Withdraw the invitation ${invitation.email ?? `of ${dayOf(invitation.created_at)}`}`}
                    onClick={() => withdrawing.mutate(invitation.id)}
                  >
                    Withdraw
                  </Button>
                )
              }
            >
              <p className="flex flex-wrap items-center gap-2">
                {invitation.user_name ?? invitation.email ?? `Invited on ${dayOf(invitation.created_at)}`}
                {invitation.role === "admin" && <Badge tone="accent">Administrator</Badge>}
                {invitation.project_role === "viewer" && <Badge>Viewer</Badge>}
                {invitation.plan_name && <Badge>{invitation.plan_name}</Badge>}
              </p>
              <p className="text-sm text-text-muted">{stateWords(invitation)}</p>
            </Row>
          ))
        }
      </Listed>
      <Dialog title={action} isOpen={isInviting} onClose={() => setInviting(false)}>
        {isInviting &&
          form(
            () => void refresh(),
            () => setInviting(false),
          )}
      </Dialog>
    </Section>
  );
}

function stateOf({ accepted_at, expires_at }: Invitation): "accepted" | "expired" | "open" {
  if (accepted_at) return "accepted";
  return new Date(expires_at) <= new Date() ? "expired" : "open";
}

function stateWords(invitation: Invitation): string {
  switch (stateOf(invitation)) {
    case "accepted":
      return `Accepted on ${dayOf(invitation.accepted_at ?? "")}`;
    case "expired":
      return `Expired on ${dayOf(invitation.expires_at)}`;
    case "open":
      return `Open until ${dayOf(invitation.expires_at)}`;
  }
}

type NewInvitation = Parameters<typeof createInvitation>[0];
type FormProps = {
  lead: string;
  /** What the link gives. When it ends is chosen here. */
  body: () => Omit<NewInvitation, "expires_at">;
  children: (emailError: string | undefined) => ReactNode;
  onCreated: () => void;
  onDone: () => void;
};

function LinkForm({ lead, body, children, onCreated, onDone }: FormProps) {
  const [days, setDays] = useState("7");
  const [key] = useState(() => crypto.randomUUID());
  const inviting = useMutation({
    mutationFn: () => createInvitation({ ...body(), expires_at: endAfter(days) }, key),
    onSuccess: onCreated,
  });
  if (inviting.data) return <LinkShown lead={lead} token={inviting.data.token} onDone={onDone} />;
  const emailError = wordsForField(inviting.error, "email");
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        inviting.mutate();
      }}
    >
      {children(emailError)}
      <Choice
        label="Valid for"
        showLabel
        value={days}
        options={[
          { value: "1", label: "1 day" },
          { value: "7", label: "7 days" },
          { value: "30", label: "30 days" },
        ]}
        onChoose={setDays}
      />
      <Problem words={inviting.error && !emailError && wordsFor(inviting.error)} />
      <Button look="primary" type="submit" className="self-start" disabled={inviting.isPending}>
        Make a link
      </Button>
    </form>
  );
}

type AccountProps = Pick<FormProps, "onCreated" | "onDone"> & { planChoice: PlanChoice };

function AccountLinkForm({ planChoice, ...rest }: AccountProps) {
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<User["role"]>("user");
  const [planId, setPlanId] = useState("");
  return (
    <LinkForm
      lead="Send this link to the person. It is shown this once, and makes one account."
      body={() => ({ role, email: email.trim() || null, plan_id: planId || null })}
      {...rest}
    >
      {(emailError) => (
        <>
          <Field
            label="E-mail (optional)"
            hint="The new account starts with it. Nothing is sent: you pass the link on."
            type="email"
            autoFocus
            value={email}
            error={emailError}
            onChange={(event) => setEmail(event.target.value)}
          />
          <RoleChoice role={role} onChoose={setRole} />
          {planChoice(planId, setPlanId)}
        </>
      )}
    </LinkForm>
  );
}

type ProjectProps = Pick<FormProps, "onCreated" | "onDone"> & { projectId: string };

function ProjectLinkForm({ projectId, ...rest }: ProjectProps) {
  const [role, setRole] = useState<"member" | "viewer">("member");
  return (
    <LinkForm
      lead="Send this link to the person. It is shown this once, and lets one person join."
      body={() => ({ role: "user", project_id: projectId, project_role: role })}
      {...rest}
    >
      {() => (
        <Choice
          label="Role"
          showLabel
          value={role}
          options={[
            { value: "member", label: "Member", note: "Reads and writes" },
            { value: "viewer", label: "Viewer", note: "Only reads" },
          ]}
          onChoose={(chosen) => setRole(chosen as typeof role)}
        />
      )}
    </LinkForm>
  );
}

const endAfter = (days: string) => new Date(Date.now() + Number(days) * 86_400_000).toISOString();

function LinkShown({ lead, token, onDone }: { lead: string; token: string | null; onDone: () => void }) {
  const [isCopied, copy] = useCopied();
  if (!token) return <p>This link was shown already. Withdraw it and make another one.</p>;
  const link = `${window.location.origin}/invitation/${token}`;
  return (
    <div className="flex flex-col gap-4">
      <p>{lead}</p>
      <p className="flex items-center gap-2 rounded-card bg-surface-quiet p-3">
        <code className="min-w-0 flex-1 break-all font-mono text-sm">{link}</code>
        <IconButton label={isCopied ? "Copied" : "Copy the link"} onClick={() => copy(link)}>
          {isCopied ? (
            <Check size={16} strokeWidth={1.5} aria-hidden />
          ) : (
            <Copy size={16} strokeWidth={1.5} aria-hidden />
          )}
        </IconButton>
      </p>
      <Button look="primary" className="self-start" onClick={onDone}>
        Done
      </Button>
    </div>
  );
}
