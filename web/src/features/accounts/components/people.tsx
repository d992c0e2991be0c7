import { useInfiniteQuery, useMutation, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { MoreHorizontal } from "lucide-react";
import { type ReactNode, useState } from "react";
import { wordsFor, wordsForField } from "@/api/words";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Menu } from "@/ui/menu";
import { Problem } from "@/ui/problem";
import { Badge, Row, Section } from "@/ui/section";
import { useToast } from "@/ui/toast";
import { createUser, meQuery, type User, updateUser, usersQuery } from "../queries";
import { RoleChoice } from "./role-choice";
import { Listed } from "./security";

/**
 * All user accounts, for administrators. `usageOf` shows the plan and the use of a person in a line, `planOf` the plan
 * and all limits.
 */
export function People({
  planOf,
  usageOf,
}: {
  planOf: (user: User) => ReactNode;
  usageOf: (user: User) => ReactNode;
}) {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const { data: me } = useSuspenseQuery(meQuery);
  const users = useInfiniteQuery(usersQuery);
  const [isAdding, setAdding] = useState(false);
  const [shown, setShown] = useState<User>();
  const refresh = () => client.invalidateQueries({ queryKey: usersQuery.queryKey });
  const changing = useMutation({
    mutationFn: ({ id, ...update }: { id: string } & Parameters<typeof updateUser>[1]) =>
      updateUser(id, update),
    onSettled: refresh,
    onError: (error) => say(wordsFor(error)),
  });
  const deactivate = (user: User) =>
    changing.mutate(
      { id: user.id, status: "inactive" },
      {
        onSuccess: () =>
          offerUndo(`${user.name} is deactivated.`, () => changing.mutate({ id: user.id, status: "active" })),
      },
    );
  return (
    <Section
      title="People"
      hint="Whoever is deactivated is signed out everywhere and cannot sign in; what they wrote stays."
      action={<Button onClick={() => setAdding(true)}>Add a person</Button>}
    >
      <Listed query={users}>
        {(items) =>
          items.map((user) => (
            <Row
              key={user.id}
              below={usageOf(user)}
              actions={
                <Menu
                  trigger={
                    <IconButton label={`What to do with ${user.name}`}>
                      <MoreHorizontal size={18} strokeWidth={1.5} aria-hidden />
                    </IconButton>
                  }
                  entries={[
                    { label: "Plan and limits", onChoose: () => setShown(user) },
                    user.role === "admin"
                      ? {
                          label: "Make an ordinary user",
                          onChoose: () => changing.mutate({ id: user.id, role: "user" }),
                        }
                      : {
                          label: "Make an administrator",
                          onChoose: () => changing.mutate({ id: user.id, role: "admin" }),
                        },
                    user.status === "active"
                      ? { label: "Deactivate", isDangerous: true, onChoose: () => deactivate(user) }
                      : {
                          label: "Activate",
                          onChoose: () => changing.mutate({ id: user.id, status: "active" }),
                        },
                  ]}
                />
              }
            >
              <p className="flex flex-wrap items-center gap-2">
                {user.name}
                {user.id === me.id && <Badge>You</Badge>}
                {user.role === "admin" && <Badge tone="accent">Administrator</Badge>}
                {user.status !== "active" && <Badge tone="danger">Deactivated</Badge>}
                {user.deletes_at && <Badge tone="danger">Leaving</Badge>}
              </p>
              <p className="text-sm text-text-muted">
                {user.username}
                {user.email && ` · ${user.email}`}
              </p>
            </Row>
          ))
        }
      </Listed>
      <Dialog
        title={`Plan and limits of ${shown?.name ?? ""}`}
        isOpen={shown !== undefined}
        onClose={() => setShown(undefined)}
      >
        {shown && planOf(shown)}
      </Dialog>
      <Dialog title="Add a person" isOpen={isAdding} onClose={() => setAdding(false)}>
        {isAdding && (
          <PersonForm
            onDone={(user) => {
              setAdding(false);
              void refresh();
              say(`${user.name} can sign in now. Tell them the password; they can change it.`);
            }}
          />
        )}
      </Dialog>
    </Section>
  );
}

function PersonForm({ onDone }: { onDone: (user: User) => void }) {
  const [username, setUsername] = useState("");
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<User["role"]>("user");
  const adding = useMutation({
    mutationFn: () => createUser({ username, name: name.trim(), password, role }),
    onSuccess: onDone,
  });
  const fieldError = (field: string) => wordsForField(adding.error, field);
  const isTold = ["username", "name", "password"].some(fieldError);
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        adding.mutate();
      }}
    >
      <Field
        label="User name"
        hint="a-z, 0-9, dot, underscore, hyphen. They sign in with it."
        autoCapitalize="none"
        autoFocus
        value={username}
        error={fieldError("username")}
        onChange={(event) => setUsername(event.target.value)}
      />
      <Field
        label="Name"
        maxLength={100}
        value={name}
        error={fieldError("name")}
        onChange={(event) => setName(event.target.value)}
      />
      <Field
        label="Password"
        hint="12 characters or more. They can change it after signing in."
        type="password"
        autoComplete="new-password"
        value={password}
        error={fieldError("password")}
        onChange={(event) => setPassword(event.target.value)}
      />
      <RoleChoice role={role} onChoose={setRole} />
      <Problem words={adding.error && !isTold && wordsFor(adding.error)} />
      <Button
        look="primary"
        type="submit"
        className="self-start"
        disabled={!username || !name.trim() || !password || adding.isPending}
      >
        Add
      </Button>
    </form>
  );
}
