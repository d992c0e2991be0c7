import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useState } from "react";
import { ApiError } from "@/api/client";
import { wordsFor, wordsForField } from "@/api/words";
import { Button } from "@/ui/button";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Failed } from "@/ui/states";
import {
  acceptInvitation,
  joinProject,
  meQuery,
  type Offer,
  offerQuery,
  setUp,
  signIn,
  type User,
} from "../queries";

function Card({ title, lead, children }: { title: string; lead: string; children: ReactNode }) {
  return (
    <main className="m-auto flex w-full max-w-sm flex-col gap-6 p-6">
      <div>
        <p className="mb-6 font-serif text-accent text-xl">Tertulia</p>
        <h1 className="font-semibold text-xl">{title}</h1>
        <p className="mt-1 text-md text-text-muted">{lead}</p>
      </div>
      {children}
    </main>
  );
}

type SignInProps = { title?: string; lead?: string; onDone: (user: User) => void };

export function SignInForm({
  title = "Sign in",
  lead = "Your chats are where you left them.",
  onDone,
}: SignInProps) {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const entering = useMutation({ mutationFn: signIn, onSuccess: onDone });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    entering.mutate({ username: username.trim(), password });
  };
  return (
    <Card title={title} lead={lead}>
      <form className="flex flex-col gap-4" onSubmit={submit}>
        <Field
          label="User name or e-mail"
          autoComplete="username"
          autoCapitalize="none"
          autoFocus
          required
          value={username}
          onChange={(event) => setUsername(event.target.value)}
        />
        <Field
          label="Password"
          type="password"
          autoComplete="current-password"
          required
          value={password}
          onChange={(event) => setPassword(event.target.value)}
        />
        <Problem isBoxed words={entering.error && wordsFor(entering.error)} />
        <Button look="primary" type="submit" disabled={entering.isPending}>
          Sign in
        </Button>
      </form>
    </Card>
  );
}

export function SetupForm({ onDone }: { onDone: (user: User) => void }) {
  return (
    <AccountForm
      title="Welcome"
      lead="Make the first account. It administers this server, and stays on it."
      action="Begin"
      make={setUp}
      onDone={onDone}
    />
  );
}

type InvitationProps = {
  token: string;
  onDone: (user: User) => void;
  onJoined: (projectId: string) => void;
};

/** Where a person who was invited makes an account, or joins a project. */
export function InvitationForm({ token, onDone, onJoined }: InvitationProps) {
  const client = useQueryClient();
  const offer = useQuery({ ...offerQuery(token), retry: false });
  const isForProject = offer.data?.project_name !== null && offer.data !== undefined;
  const me = useQuery({ ...meQuery, retry: false, enabled: isForProject });
  const [hasAccount, setHasAccount] = useState(false);
  if (offer.error) {
    const isGone = offer.error instanceof ApiError && offer.error.status === 404;
    if (!isGone) return <Failed words={wordsFor(offer.error)} onRetry={() => void offer.refetch()} />;
    return (
      <Card title="This invitation does not work" lead={wordsFor(offer.error)}>
        <a href="/" className="self-start text-accent underline">
          Sign in with an account
        </a>
      </Card>
    );
  }
  if (!offer.data || (isForProject && me.isPending)) return <div className="h-full" aria-busy="true" />;
  if (isForProject && me.data)
    return <JoinForm token={token} offer={offer.data} me={me.data} onJoined={onJoined} />;
  const { makes_account, role, plan_name, project_name, email } = offer.data;
  if (!makes_account || hasAccount)
    return (
      <SignInForm
        title={`Join ${project_name ?? ""}`.trim()}
        lead="Sign in with your account first."
        onDone={(user) => client.setQueryData(meQuery.queryKey, user)}
      />
    );
  const included = [
    project_name && `You will belong to the project ${project_name}.`,
    role === "admin" && "You will administer this server.",
    plan_name && `Plan: ${plan_name}.`,
  ];
  return (
    <AccountForm
      title="You are invited"
      lead={["Make your account.", ...included].filter(Boolean).join(" ")}
      action="Make the account"
      email={email ?? ""}
      make={(account) => acceptInvitation(token, account)}
      onDone={onDone}
    >
      {isForProject && (
        <Button look="plain" className="self-start" onClick={() => setHasAccount(true)}>
          I have an account
        </Button>
      )}
    </AccountForm>
  );
}

type JoinProps = { token: string; offer: Offer; me: User; onJoined: (projectId: string) => void };

function JoinForm({ token, offer, me, onJoined }: JoinProps) {
  const joining = useMutation({
    mutationFn: () => joinProject(token),
    onSuccess: ({ project_id }) => onJoined(project_id),
  });
  const isMember = joining.error instanceof ApiError && joining.error.code === "already_member";
  const may = offer.project_role === "viewer" ? "read" : "read and write";
  return (
    <Card
      title={`Join ${offer.project_name ?? ""}`}
      lead={`${offer.invited_by ?? "Its owner"} invites you to this project. You will ${may} what is open to its members.`}
    >
      <Problem isBoxed words={joining.error && wordsFor(joining.error)} />
      {isMember ? (
        <a href="/projects" className="self-start text-accent underline">
          Open your projects
        </a>
      ) : (
        <>
          <Button look="primary" disabled={joining.isPending} onClick={() => joining.mutate()}>
            Join as {me.name}
          </Button>
          <a href="/" className="self-start text-accent underline">
            Not now
          </a>
        </>
      )}
    </Card>
  );
}

type Account = Parameters<typeof setUp>[0];

/** The fields of a new account. With `email`, also an address, which may stay empty. */
function AccountForm({
  title,
  lead,
  action,
  email: givenEmail,
  make,
  onDone,
  children,
}: {
  title: string;
  lead: string;
  action: string;
  email?: string;
  make: (account: Account) => Promise<User>;
  onDone: (user: User) => void;
  children?: ReactNode; // below the form
}) {
  const [name, setName] = useState("");
  const [username, setUsername] = useState("");
  const [email, setEmail] = useState(givenEmail ?? "");
  const [password, setPassword] = useState("");
  const making = useMutation({ mutationFn: make, onSuccess: onDone });
  const fieldError = (field: string) => wordsForField(making.error, field);
  const isAtField = ["name", "username", "email", "password"].some(fieldError);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const address = givenEmail === undefined ? {} : { email: email.trim() || null };
    making.mutate({ name: name.trim(), username: username.trim(), password, ...address });
  };
  return (
    <Card title={title} lead={lead}>
      <form className="flex flex-col gap-4" onSubmit={submit}>
        <Field
          label="Your name"
          autoComplete="name"
          autoFocus
          required
          maxLength={100}
          value={name}
          error={fieldError("name")}
          onChange={(event) => setName(event.target.value)}
        />
        <Field
          label="User name"
          hint="Small letters, digits, dot, underscore, hyphen."
          autoComplete="username"
          autoCapitalize="none"
          required
          pattern="[a-z0-9._\-]{1,50}"
          title="Small letters, digits, dot, underscore, hyphen; 50 at most."
          value={username}
          error={fieldError("username")}
          onChange={(event) => setUsername(event.target.value)}
        />
        {givenEmail !== undefined && (
          <Field
            label="E-mail (optional)"
            hint="You can sign in with it, too."
            type="email"
            autoComplete="email"
            value={email}
            error={fieldError("email")}
            onChange={(event) => setEmail(event.target.value)}
          />
        )}
        <Field
          label="Password"
          hint="12 characters or more. A few words in a row are good."
          type="password"
          autoComplete="new-password"
          required
          value={password}
          error={fieldError("password")}
          onChange={(event) => setPassword(event.target.value)}
        />
        <Problem isBoxed words={making.error && !isAtField && wordsFor(making.error)} />
        <Button look="primary" type="submit" disabled={making.isPending}>
          {action}
        </Button>
      </form>
      {children}
    </Card>
  );
}
