import { useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";
import { AuditLog, Invitations, meQuery, People, Security, SettingsForm } from "@/features/accounts";
import {
  BillCheck,
  LimitBars,
  LimitPlace,
  LimitsView,
  limitsQuery,
  PersonUse,
  PlanChoice,
  PlanList,
  PlanView,
  PriceList,
  UserPlan,
  WebhookEvents,
} from "@/features/billing";
import { LargestUsers, SecurityReport } from "@/features/instance";
import { ModelPicker, modelOfKey } from "@/features/models";
import { ProviderList } from "@/features/providers";
import { PendingCalls, SignInBack, ToolHistory, ToolRules, ToolServers } from "@/features/tools";
import { Transfer } from "@/features/transfer";
import { UsageView } from "@/features/usage";
import { useToast } from "@/ui/toast";
import { Page } from "./page";
import { SettingsFrame } from "./settings-frame";

export function GeneralPage() {
  return (
    <SettingsFrame title="Settings">
      <SettingsForm
        modelChoice={(value, choose) => (
          <ModelPicker
            label="Model of new chats"
            showLabel
            value={value ? modelOfKey(value) : undefined}
            onChoose={(provider, modelName) => choose(`${provider}/${modelName}`)}
          />
        )}
      />
    </SettingsFrame>
  );
}

export function ProvidersPage() {
  return (
    <SettingsFrame title="Providers">
      <ProviderList />
    </SettingsFrame>
  );
}

/** Rules, servers and history; with a chat, only its history. */
export function ToolsPage({ chatId }: { chatId: string | undefined }) {
  const { data: me } = useQuery(meQuery);
  return (
    <SettingsFrame title="Tools and approvals">
      <div className="flex flex-col gap-10">
        {!chatId && <ToolRules />}
        {!chatId && <ToolServers />}
        <ToolHistory
          meId={me?.id}
          chatId={chatId}
          chatLink={chatLink}
          everywhere={
            <Link to="/settings/tools" search={{}} className="text-accent underline">
              Of all chats
            </Link>
          }
        />
      </div>
    </SettingsFrame>
  );
}

/** The page after signing in to a tool server. */
export function ToolSignInPage() {
  const navigate = useNavigate();
  const { say } = useToast();
  const done = useCallback(
    (name: string) => {
      say(`You are signed in to ${name}.`);
      void navigate({ to: "/settings/tools", search: {}, replace: true });
    },
    [navigate, say],
  );
  return (
    <SettingsFrame title="Signing in">
      <div className="flex flex-col gap-4">
        <SignInBack onDone={done} />
        <Link to="/settings/tools" search={{}} replace className="self-start text-accent underline">
          To the tools and their servers
        </Link>
      </div>
    </SettingsFrame>
  );
}

/** A link to a chat. */
function chatLink(chatId: string, title: string) {
  return (
    <Link to="/c/$chatId" params={{ chatId }} className="text-accent underline">
      {title}
    </Link>
  );
}

/** Pending approvals of all chats. */
export function ApprovalsPage() {
  const { data: me } = useQuery(meQuery);
  return (
    <Page title="Approvals">
      <PendingCalls
        meId={me?.id}
        chatLink={(chatId, title) => <p className="text-sm text-text-muted">In {chatLink(chatId, title)}</p>}
      />
    </Page>
  );
}

export function UsagePage() {
  const { data: me } = useSuspenseQuery(meQuery);
  const { data: limits } = useQuery(limitsQuery());
  const budgets = limits?.filter((limit) => limit.measure !== "storage") ?? [];
  const monthly = budgets.filter(
    (limit) =>
      limit.measure === "cost" &&
      limit.window === "month" &&
      limit.subject_kind !== "token" &&
      limit.subject_kind !== "chat" &&
      limit.subject_kind !== "project",
  );
  return (
    <SettingsFrame title="Usage">
      <div className="flex flex-col gap-10">
        <UsageView
          isAdmin={me.role === "admin"}
          timeZone={me.preferences.time_zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone}
          budgets={budgets.length > 0 && <LimitBars limits={budgets} />}
          monthlyBudget={
            monthly.length > 0 ? Math.min(...monthly.map((limit) => Number(limit.limit))) : undefined
          }
          chatLink={(chatId, title) => (
            <Link to="/c/$chatId" params={{ chatId }} className="hover:underline">
              {title}
            </Link>
          )}
          limitProject={(id, name) => <LimitPlace place={{ kind: "project", id }} name={name} />}
        />
        <BillCheck isAdmin={me.role === "admin"} />
      </div>
    </SettingsFrame>
  );
}

export function LimitsPage() {
  const { data: me } = useSuspenseQuery(meQuery);
  return (
    <SettingsFrame title="Limits">
      <LimitsView meId={me.id} isAdmin={me.role === "admin"} />
    </SettingsFrame>
  );
}

export function PricesPage() {
  return (
    <SettingsFrame title="Prices">
      <PriceList />
    </SettingsFrame>
  );
}

export function PlansPage() {
  return (
    <SettingsFrame title="Plans">
      <div className="flex flex-col gap-10">
        <PlanList />
        <WebhookEvents />
      </div>
    </SettingsFrame>
  );
}

/** The user's own plan. `hasBought`: the user comes back from the checkout. */
export function PlanPage({ hasBought }: { hasBought: boolean }) {
  const { data: limits } = useQuery(limitsQuery());
  return (
    <SettingsFrame title="Plan">
      <PlanView hasBought={hasBought} limits={limits && <LimitBars limits={limits} />} />
    </SettingsFrame>
  );
}

export function SecurityPage() {
  return (
    <SettingsFrame title="Password and devices">
      <Security
        dataLink={
          <Link to="/settings/data" className="text-accent underline">
            Export your chats
          </Link>
        }
      />
    </SettingsFrame>
  );
}

export function DataPage() {
  return (
    <SettingsFrame title="Data">
      <Transfer />
    </SettingsFrame>
  );
}

export function PeoplePage() {
  return (
    <SettingsFrame title="People">
      <div className="flex flex-col gap-10">
        <People
          planOf={(user) => <UserPlan userId={user.id} />}
          usageOf={(user) => <PersonUse userId={user.id} />}
        />
        <Invitations planChoice={(value, choose) => <PlanChoice value={value} onChoose={choose} />} />
        <LargestUsers />
      </div>
    </SettingsFrame>
  );
}

export function AuditPage() {
  return (
    <SettingsFrame title="Audit log">
      <AuditLog />
    </SettingsFrame>
  );
}

export function ServerPage() {
  return (
    <SettingsFrame title="Server security">
      <SecurityReport />
    </SettingsFrame>
  );
}
