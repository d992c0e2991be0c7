import { useQuery } from "@tanstack/react-query";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { fileSize } from "@/lib/sizes";
import { Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
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
        <p className="text-text-muted">Nothing is stored yet.</p>
      ) : (
        <div className="overflow-x-auto">
          <table className="w-full text-sm tabular-nums">
            <thead className="text-text-muted">
              <tr className="border-hairline border-b text-right">
                <th scope="col" className="py-2 pr-3 text-left font-medium">
                  Person
                </th>
                <th scope="col" className="px-3 py-2 font-medium">
                  Chats
                </th>
                <th scope="col" className="px-3 py-2 font-medium">
                  Messages
                </th>
                <th scope="col" className="px-3 py-2 font-medium">
                  Drafts
                </th>
                <th scope="col" className="py-2 pl-3 font-medium">
                  Files
                </th>
              </tr>
            </thead>
            <tbody>
              {data.users.map((user) => (
                <tr key={user.id} className="border-hairline border-b text-right">
                  <th scope="row" className="max-w-48 truncate py-2 pr-3 text-left font-normal">
                    {user.name}
                  </th>
                  <td className="px-3 py-2">{wholeNumber(user.chats)}</td>
                  <td className="px-3 py-2">{wholeNumber(user.messages)}</td>
                  <td className="px-3 py-2">{wholeNumber(user.drafts)}</td>
                  <td className="whitespace-nowrap py-2 pl-3">
                    {wholeNumber(user.files)} · {fileSize(user.file_bytes)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Section>
  );
}
