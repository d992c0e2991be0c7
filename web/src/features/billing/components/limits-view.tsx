import { useQuery } from "@tanstack/react-query";
import { wordsFor } from "@/api/words";
import { Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { limitsQuery } from "../queries";
import { LimitBars } from "./limit-bars";
import { AllSubjects, OwnSubjects } from "./quota-form";
import { QuotaList } from "./quota-list";

/** The limits that apply, those that people set for themselves, and for administrators those of everybody. */
export function LimitsView({ meId, isAdmin }: { meId: string; isAdmin: boolean }) {
  const limits = useQuery(limitsQuery());
  return (
    <div className="flex flex-col gap-10">
      <Section title="Now" hint="What you have used of each limit that applies to you.">
        {limits.isPending ? (
          <Lines widths={["w-full", "w-2/3", "w-full"]} />
        ) : limits.isError ? (
          <Failed words={wordsFor(limits.error)} onRetry={() => void limits.refetch()} />
        ) : (
          <LimitBars limits={limits.data} />
        )}
      </Section>
      <QuotaList
        of="me"
        title="Your own limits"
        hint="A reply stops when a limit is reached. Its text is kept, and you can raise the limit and continue."
        empty="You have set no limit. Set one to stop, for example, at $20 a month."
        withSubjects={(render) => <OwnSubjects meId={meId}>{render}</OwnSubjects>}
      />
      {isAdmin && (
        <QuotaList
          of="everyone"
          title="Limits of everybody"
          hint="People see these limits and cannot change them. The tightest limit counts."
          empty="No limit is set for other people."
          withSubjects={(render) => <AllSubjects>{render}</AllSubjects>}
        />
      )}
    </div>
  );
}
