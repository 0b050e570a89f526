"""Accounts and what belongs to them: keys, models, mappings, time zones, Stripe sources. Home's tables."""
