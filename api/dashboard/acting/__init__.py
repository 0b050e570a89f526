"""Pages, and parts of them, by which a person acts: handlings, drafts, webhooks."""
