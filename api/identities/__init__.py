"""Routes for a customer's identity: `identify`, user ids, and merges of two addresses."""
