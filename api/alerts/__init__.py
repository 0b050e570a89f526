"""Routes for what follows from a risk: alerts, webhooks, drafts of letters, and handlings of customers."""
