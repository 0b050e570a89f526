"""Alerts: which rises are sent to which webhooks, how messages are signed, delivered, and tried again."""
