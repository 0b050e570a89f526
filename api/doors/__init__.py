"""Doors for existing products: they send what they send to Segment or PostHog, and Stripe sends its webhooks."""
