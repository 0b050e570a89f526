-- Where Stripe's webhooks come in: the token in the address says whose they are, the secret signs them.
CREATE TABLE stripe_sources (
    token text PRIMARY KEY,
    account_id integer NOT NULL REFERENCES accounts,
    secret text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_event_at timestamptz
);
