import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { wordsFor } from "@/api/words";
import { dayOf } from "@/lib/dates";
import { minorAmount, priceWords } from "@/lib/money";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Problem } from "@/ui/problem";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { Table } from "@/ui/table";
import { useToast } from "@/ui/toast";
import {
  buyPlan,
  changeSubscription,
  findInvoice,
  openPortal,
  type Payment,
  type Plan,
  paymentsQuery,
  plansQuery,
  type Subscription,
  subscriptionQuery,
} from "../queries";

/** The plan of a person: what it is, what can be bought, and what was paid. `hasBought`: back from the checkout. */
export function PlanView({ hasBought, limits }: { hasBought: boolean; limits: ReactNode }) {
  const subscription = useQuery({
    ...subscriptionQuery,
    // The payment provider tells the server within seconds. Until then, ask.
    refetchInterval: (query) => (hasBought && !query.state.data?.subscriptions.length ? 2000 : false),
  });
  const plans = useQuery(plansQuery);
  if (subscription.isPending || plans.isPending) return <Lines widths={["w-1/3", "w-full", "w-2/3"]} />;
  if (subscription.isError)
    return <Failed words={wordsFor(subscription.error)} onRetry={() => void subscription.refetch()} />;
  if (plans.isError) return <Failed words={wordsFor(plans.error)} onRetry={() => void plans.refetch()} />;
  const { plan, subscriptions, sources, can_manage } = subscription.data;
  const offers = plans.data.filter((offer) => offer.is_offered);
  const isWaiting = hasBought && subscriptions.length === 0;
  return (
    <div className="flex flex-col gap-10">
      <Section
        title="Your plan"
        hint={plan.plan_name ? undefined : "Without a plan, everything is included."}
        action={can_manage && <Manage />}
      >
        {isWaiting && (
          <p role="status" className="rounded-card bg-surface-quiet px-3 py-2">
            Thank you. Your plan starts as soon as the payment is confirmed, usually within seconds.
          </p>
        )}
        {plan.plan_name && (
          <p className="flex flex-wrap items-center gap-2 text-lg">
            <span className="font-semibold">{plan.plan_name}</span>
            {plan.source === "hand" && <Badge>Given by an administrator</Badge>}
          </p>
        )}
        {subscriptions.length > 0 && (
          <Rows>
            {subscriptions.map((item) => (
              <Row
                key={item.id}
                actions={item.has_access && sources.includes(item.source) && <Cancelling item={item} />}
              >
                <p className="flex flex-wrap items-center gap-2">
                  {item.plan_name ?? "Another product"}
                  <Badge tone={toneOf(item)}>{stateWords(item)}</Badge>
                </p>
                <p className="text-sm text-text-muted">{renewalWords(item)}</p>
              </Row>
            ))}
          </Rows>
        )}
      </Section>
      <Section title="Limits">{limits}</Section>
      {sources.length > 0 && offers.length > 0 && (
        <Section title="Plans">
          <Rows>
            {offers.map((offer) => (
              <Offer
                key={offer.id}
                offer={offer}
                isCurrent={plan.plan_id === offer.id}
                canBuy={offer.products.some(({ source }) => sources.includes(source))}
                current={subscriptions.find(
                  (item) =>
                    item.has_access &&
                    sources.includes(item.source) &&
                    offer.products.some(({ source }) => source === item.source),
                )}
              />
            ))}
          </Rows>
        </Section>
      )}
      <Payments />
    </div>
  );
}

function Manage() {
  const opening = useMutation({
    mutationFn: openPortal,
    onSuccess: ({ url }) => window.location.assign(url),
  });
  return (
    <div className="flex flex-col items-end gap-1">
      <Button disabled={opening.isPending} onClick={() => opening.mutate()}>
        Manage subscription
      </Button>
      <Problem words={opening.error && wordsFor(opening.error)} />
    </div>
  );
}

/** Cancel a subscription, or keep it after all. */
function Cancelling({ item }: { item: Subscription }) {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const changing = useMutation({
    mutationFn: (isCancelled: boolean) =>
      changeSubscription({ id: item.id, cancel_at_period_end: isCancelled }),
    onSuccess: (subscription, isCancelled) => {
      client.setQueryData(subscriptionQuery.queryKey, subscription);
      if (!isCancelled) return;
      const until = subscription.subscriptions.find(({ id }) => id === item.id)?.access_until;
      offerUndo(until ? `Cancelled. You keep the plan until ${dayOf(until)}.` : "Cancelled.", () =>
        changing.mutate(false),
      );
    },
    onError: (error) => say(wordsFor(error)),
  });
  if (item.ends_at && !item.cancel_at_period_end) return null; // it ends at a time that the provider set
  return (
    <Button disabled={changing.isPending} onClick={() => changing.mutate(!item.cancel_at_period_end)}>
      {item.cancel_at_period_end ? "Keep it after all" : "Cancel"}
    </Button>
  );
}

/** Move a subscription to another plan, after saying what that costs. */
function Changing({ offer, item, onDone }: { offer: Plan; item: Subscription; onDone: () => void }) {
  const client = useQueryClient();
  const { say } = useToast();
  const changing = useMutation({
    mutationFn: () => changeSubscription({ id: item.id, plan_id: offer.id }),
    onSuccess: (subscription) => {
      client.setQueryData(subscriptionQuery.queryKey, subscription);
      say(`Your plan is ${offer.name} now.`);
      onDone();
    },
  });
  const seller = item.source === "stripe" ? "Stripe" : "Polar";
  return (
    <div className="flex flex-col gap-4">
      <p>
        {offer.name} costs {priceWords(offer)}
        {item.amount !== null && item.currency
          ? ` instead of ${priceWords({ price_minor: item.amount, currency: item.currency, interval: item.recurring_interval })}`
          : ""}
        . {seller} charges or credits the difference for the rest of this period.
      </p>
      <Problem words={changing.error && wordsFor(changing.error)} />
      <div className="flex gap-2">
        <Button look="primary" disabled={changing.isPending} onClick={() => changing.mutate()}>
          Change to {offer.name}
        </Button>
        <Button onClick={onDone}>Not now</Button>
      </div>
    </div>
  );
}

/** A plan on offer. `current`: the subscription that can be moved to it. */
function Offer({
  offer,
  isCurrent,
  canBuy,
  current,
}: {
  offer: Plan;
  isCurrent: boolean;
  canBuy: boolean;
  current: Subscription | undefined;
}) {
  const [isChanging, setChanging] = useState(false);
  const buying = useMutation({
    mutationFn: () => buyPlan(offer.id),
    onSuccess: ({ url }) => window.location.assign(url),
  });
  return (
    <Row
      actions={
        isCurrent ? (
          <Badge tone="accent">Your plan</Badge>
        ) : current ? (
          <Button onClick={() => setChanging(true)}>Change to {offer.name}</Button>
        ) : (
          canBuy && (
            <Button look="primary" disabled={buying.isPending} onClick={() => buying.mutate()}>
              Get {offer.name}
            </Button>
          )
        )
      }
      below={buying.error && <Problem className="text-sm" words={wordsFor(buying.error)} />}
    >
      <p className="flex flex-wrap items-baseline gap-2">
        <span className="font-medium">{offer.name}</span>
        <span className="text-text-muted">{priceWords(offer)}</span>
      </p>
      {offer.description && <p className="text-sm text-text-muted">{offer.description}</p>}
      <Dialog title={`Change to ${offer.name}`} isOpen={isChanging} onClose={() => setChanging(false)}>
        {isChanging && current && <Changing offer={offer} item={current} onDone={() => setChanging(false)} />}
      </Dialog>
    </Row>
  );
}

function Payments() {
  const payments = useInfiniteQuery(paymentsQuery);
  const [hasMore, setMore] = useState(false);
  const rows = payments.data?.pages.flatMap((page) => page.items) ?? [];
  if (payments.isError)
    return (
      <Section title="Payments">
        <Failed words={wordsFor(payments.error)} onRetry={() => void payments.refetch()} />
      </Section>
    );
  if (rows.length === 0) return null;
  return (
    <Section title="Payments">
      <Table
        columns={[
          { title: "Date" },
          { title: "Invoice" },
          { title: "State" },
          { title: "Amount", isNumber: true },
        ]}
        rows={rows.map((payment) => ({
          key: payment.id,
          cells: [
            dayOf(payment.created_at),
            payment.is_paid && !payment.receipt_url ? (
              <InvoiceButton key="invoice" payment={payment} />
            ) : payment.receipt_url ? (
              <a
                key="invoice"
                className="text-accent underline"
                href={payment.receipt_url}
                target="_blank"
                rel="noreferrer"
              >
                {payment.invoice_number ?? "Receipt"}
              </a>
            ) : (
              (payment.invoice_number ?? "–")
            ),
            paidWords(payment),
            minorAmount(payment.total_amount, payment.currency),
          ],
        }))}
      />
      {payments.hasNextPage && (
        <Button
          look="plain"
          className="self-start"
          disabled={hasMore && payments.isFetchingNextPage}
          onClick={() => {
            setMore(true);
            void payments.fetchNextPage();
          }}
        >
          Show more
        </Button>
      )}
    </Section>
  );
}

/** Fetch the address of an invoice, which may have to be made first, and open it. */
function InvoiceButton({ payment }: { payment: Payment }) {
  const { say } = useToast();
  const finding = useMutation({
    mutationFn: () => findInvoice(payment.id),
    onSuccess: ({ url }) => window.location.assign(url),
    onError: (error) => say(wordsFor(error)),
  });
  return (
    <button
      type="button"
      className="text-accent underline disabled:text-text-muted"
      disabled={finding.isPending}
      onClick={() => finding.mutate()}
    >
      {finding.isPending ? "Getting the invoice…" : (payment.invoice_number ?? "Invoice")}
    </button>
  );
}

function paidWords(payment: Payment): string {
  if (payment.refunded_amount > 0) {
    const amount = minorAmount(payment.refunded_amount, payment.currency);
    return payment.refunded_amount >= payment.total_amount ? "Refunded" : `${amount} refunded`;
  }
  return payment.is_paid ? "Paid" : (payment.status ?? "Open");
}

function toneOf(item: Subscription): "quiet" | "accent" | "danger" {
  if (item.status === "past_due" || item.status === "unpaid") return "danger";
  return item.has_access ? "accent" : "quiet";
}

function stateWords(item: Subscription): string {
  if (item.has_access && item.cancel_at_period_end) return "Cancelled";
  const words: Record<string, string> = {
    active: "Active",
    trialing: "Trial",
    past_due: "Payment failed",
    unpaid: "Unpaid",
    canceled: "Ended",
    paused: "Paused",
    incomplete: "Waiting for payment",
    incomplete_expired: "Not paid",
  };
  return words[item.status] ?? item.status;
}

function renewalWords(item: Subscription): string {
  const price =
    item.amount !== null && item.currency
      ? priceWords({ price_minor: item.amount, currency: item.currency, interval: item.recurring_interval })
      : undefined;
  let state: string | undefined;
  if (item.ended_at) state = `ended on ${dayOf(item.ended_at)}`;
  else if (item.status === "past_due" && item.access_until)
    state = `update your card before ${dayOf(item.access_until)}, when the plan ends`;
  else if (item.access_until) state = `you keep the plan until ${dayOf(item.access_until)}`;
  else if (item.has_access && item.current_period_end) state = `renews on ${dayOf(item.current_period_end)}`;
  return [price, state].filter(Boolean).join(" · ");
}
