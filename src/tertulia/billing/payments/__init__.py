"""Payments: checkout, webhooks of payment providers, subscriptions, and the plans that they give."""
