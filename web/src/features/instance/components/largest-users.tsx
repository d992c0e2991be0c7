import { useQuery } from "@tanstack/react-query";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { fileSize } from "@/lib/sizes";
import { Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { Table } from "@/ui/table";
import { largestUsersQuery } from "../queries";

/** The users who store the most, for administrators. */
export function LargestUsers() {
  const { data, error, refetch } = useQuery(largestUsersQuery);
  return (
    <Section
      title="Storage by person"
      hint={
        data?.counted_at ? (
          <>
            Counted{" "}
            <time dateTime={data.counted_at} title={exactTime(data.counted_at)}>
              {relativeTime(data.counted_at)}
            </time>
            , including the trash.
          </>
        ) : (
          "The people with the most files and messages."
        )
      }
    >
      {error ? (
        <Failed words={wordsFor(error)} onRetry={() => void refetch()} />
      ) : !data ? (
        <Lines widths={["w-full", "w-2/3"]} />
      ) : !data.counted_at ? (
        <p className="text-text-muted">Not counted yet. The server counts once an hour.</p>
      ) : data.users.length === 0 ? (
        <p className="text-text-muted">Nothing was stored then. The server counts once an hour.</p>
      ) : (
        <Table
          columns={[
            { title: "Person" },
            { title: "Chats", isNumber: true },
            { title: "Messages", isNumber: true },
            { title: "Drafts", isNumber: true },
            { title: "Files", isNumber: true },
          ]}
          rows={data.users.map((user) => ({
            key: user.id,
            cells: [
              user.name,
              wholeNumber(user.chats),
              wholeNumber(user.messages),
              wholeNumber(user.drafts),
              `${wholeNumber(user.files)} · ${fileSize(user.file_bytes)}`,
            ],
          }))}
        />
      )}
    </Section>
  );
}
