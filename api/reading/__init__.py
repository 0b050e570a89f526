"""Routes that read: customers, analytics, levels, the model, its track record, and warnings."""
