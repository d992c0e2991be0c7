import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Check, Copy, Link2, X } from "lucide-react";
import { type ReactNode, useState } from "react";
import { ApiError } from "@/api/client";
import { wordsFor } from "@/api/words";
import { exactTime, wholeNumber } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { useCopied } from "@/ui/use-copied";
import { createShare, endShare, type Share, sharesQuery, type Thing } from "../queries";

const DAY_MS = 86_400_000;
const ENDS = [
  { value: "never", label: "Until it is ended" },
  { value: "1", label: "For a day" },
  { value: "7", label: "For a week" },
  { value: "30", label: "For 30 days" },
];
const MAY = [
  { value: "read", label: "May read" },
  { value: "write", label: "May read and write" },
  { value: "share", label: "May read, write and share" },
];

type Props = {
  thing: Thing;
  title: string;
  linkShows: string; // what visitors of the link see
  onClose: () => void;
  children?: ReactNode; // another way to share
};

/** Share a chat or a draft with users by name, or with a public link. */
export function ShareDialog({ thing, title, linkShows, onClose, children }: Props) {
  const client = useQueryClient();
  const { data: shares = [], error: listError } = useQuery(sharesQuery(thing));
  const [name, setName] = useState("");
  const [may, setMay] = useState("read");
  const [ends, setEnds] = useState("never");
  const [link, setLink] = useState<string>();
  const [problem, setProblem] = useState<string>();
  const [isCopied, copy] = useCopied();
  const refresh = () => client.invalidateQueries({ queryKey: sharesQuery(thing).queryKey });
  const attempt = async (work: () => Promise<void>) => {
    setProblem(undefined);
    try {
      await work();
      await refresh();
    } catch (error) {
      setProblem(error instanceof ApiError ? error.message : wordsFor(error));
    }
  };
  const expires_at =
    ends === "never" ? undefined : new Date(Date.now() + Number(ends) * DAY_MS).toISOString();
  const invite = () =>
    attempt(async () => {
      const permissions = { can_read: true as const, can_write: may !== "read", can_share: may === "share" };
      await createShare(thing, { shared_with_username: name.trim(), permissions, expires_at });
      setName("");
    });
  const makeLink = () =>
    attempt(async () => {
      const share = await createShare(thing, {
        permissions: { can_read: true, can_write: false, can_share: false },
        expires_at,
      });
      setLink(`${location.origin}/shared/${share.token}`);
    });
  return (
    <Dialog title={title} isOpen onClose={onClose}>
      <div className="flex flex-col gap-5">
        <form
          className="flex flex-col gap-3"
          onSubmit={(event) => {
            event.preventDefault();
            if (name.trim()) void invite();
          }}
        >
          <Field
            label="With a person"
            hint="Their user name here. What they write is theirs, and at their cost."
            value={name}
            onChange={(event) => setName(event.target.value)}
            autoComplete="off"
            autoCapitalize="none"
          />
          <div className="flex flex-wrap items-center gap-2">
            <Choice label="What they may do" value={may} options={MAY} onChoose={setMay} />
            <Choice label="How long" value={ends} options={ENDS} onChoose={setEnds} />
            <Button look="primary" type="submit" disabled={!name.trim()} className="ml-auto">
              Share
            </Button>
          </div>
        </form>
        <div className="flex flex-col gap-2 border-hairline border-t pt-4">
          <p className="font-medium">With a link</p>
          <p className="text-sm text-text-muted">
            Whoever has it reads along, without an account. {linkShows}
          </p>
          {link ? (
            <div className="flex items-center gap-2">
              <input
                aria-label="The link, shown this once"
                readOnly
                value={link}
                onFocus={(event) => event.target.select()}
                className="min-w-0 flex-1 rounded-control border border-hairline-strong bg-surface-quiet px-3 py-2 text-sm"
              />
              <Button onClick={() => copy(link)}>
                {isCopied ? (
                  <Check size={16} strokeWidth={1.5} aria-hidden />
                ) : (
                  <Copy size={16} strokeWidth={1.5} aria-hidden />
                )}
                {isCopied ? "Copied" : "Copy"}
              </Button>
            </div>
          ) : (
            <Button className="w-fit" onClick={() => void makeLink()}>
              <Link2 size={16} strokeWidth={1.5} aria-hidden /> Make a link
            </Button>
          )}
        </div>
        {children}
        <Problem isBoxed words={problem || (listError && wordsFor(listError))} />
        {shares.length > 0 && (
          <div className="border-hairline border-t pt-4">
            <p className="pb-2 font-medium">Shared now</p>
            <ul className="flex flex-col gap-1">
              {shares.map((share) => (
                <li key={share.id} className="flex items-center gap-2">
                  <span className="min-w-0 flex-1">
                    <span className="block truncate">{share.shared_with?.name ?? "Link"}</span>
                    <span className="block text-sm text-text-muted">{shareWords(share)}</span>
                  </span>
                  <IconButton
                    label={`End sharing with ${share.shared_with?.name ?? "this link"}`}
                    onClick={() => void attempt(() => endShare(share.id))}
                  >
                    <X size={16} strokeWidth={1.5} aria-hidden />
                  </IconButton>
                </li>
              ))}
            </ul>
          </div>
        )}
      </div>
    </Dialog>
  );
}

function shareWords({ permissions, expires_at, access_count, shared_with }: Share): string {
  const may = permissions.can_share
    ? "reads, writes and shares"
    : permissions.can_write
      ? "reads and writes"
      : "reads";
  const often = shared_with ? undefined : `opened ${wholeNumber(access_count)} times`;
  return [may, often, expires_at && `until ${exactTime(expires_at)}`].filter(Boolean).join(" · ");
}
