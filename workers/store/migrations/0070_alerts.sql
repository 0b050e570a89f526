-- Where alerts go. The secret signs messages, so it is kept as it is. last_at and last_status are the latest attempt's;
-- the status is null where there was no answer.
CREATE TABLE webhooks (
    webhook_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account_id integer NOT NULL REFERENCES accounts,
    url text NOT NULL,
    format text NOT NULL,
    min_level text NOT NULL,
    description text,
    enabled boolean NOT NULL DEFAULT true,
    secret text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz,
    last_status integer
);

CREATE INDEX webhooks_account ON webhooks (account_id);

-- Which database this is, as last seen, and since when alerts may be given: a restored copy starts anew.
CREATE TABLE alerting (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    identity text NOT NULL,
    last_xid bigint NOT NULL,
    seen_at timestamptz NOT NULL,
    since timestamptz NOT NULL
);

-- An account's own templates for e-mail drafts, in place of ours.
CREATE TABLE draft_templates (
    account_id integer NOT NULL REFERENCES accounts,
    strategy text NOT NULL,
    subject text NOT NULL,
    body_text text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, strategy)
);

-- A customer's level rose: written with the score that says so. advice and reasons are those of that score.
CREATE TABLE alerts (
    customer_id uuid NOT NULL,
    alert_id uuid NOT NULL,
    account_id integer NOT NULL,
    at timestamptz NOT NULL,
    level_before text NOT NULL,
    level text NOT NULL,
    probability real NOT NULL,
    horizon_days integer NOT NULL,
    reasons jsonb NOT NULL,
    advice jsonb NOT NULL,
    held_out boolean NOT NULL,
    PRIMARY KEY (customer_id, alert_id)
);

CREATE INDEX alerts_latest ON alerts (account_id, at, alert_id);

-- An alert on its way to a webhook: waiting, delivered or failed. admitted_at is when the hour's cap let it through; one
-- above the cap goes with a summary.
CREATE TABLE deliveries (
    customer_id uuid NOT NULL,
    alert_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting',
    attempts integer NOT NULL DEFAULT 0,
    last_status integer,
    last_error text,
    admitted_at timestamptz,
    summary_id uuid,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    give_up_at timestamptz NOT NULL DEFAULT now() + interval '3 days',
    PRIMARY KEY (customer_id, alert_id, webhook_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX deliveries_due ON deliveries (webhook_id, next_attempt_at) WHERE state = 'waiting' AND admitted_at IS NOT NULL;
CREATE INDEX deliveries_new ON deliveries (webhook_id, at) WHERE state = 'waiting' AND admitted_at IS NULL AND summary_id IS NULL;
CREATE INDEX deliveries_admitted ON deliveries (webhook_id, admitted_at);
CREATE INDEX deliveries_summary ON deliveries (summary_id) WHERE summary_id IS NOT NULL;

-- One message in place of many alerts. It holds no customers: they are the deliveries that name it. While it gathers,
-- more of them may join.
CREATE TABLE summaries (
    summary_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    webhook_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'gathering',
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    give_up_at timestamptz NOT NULL
);

CREATE INDEX summaries_due ON summaries (webhook_id, created_at);

-- What people did about a customer: contacted, snoozed, noted.
CREATE TABLE handlings (
    customer_id uuid NOT NULL,
    handling_id uuid NOT NULL DEFAULT gen_random_uuid(),
    account_id integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    what text NOT NULL,
    until timestamptz,
    text text,
    who text,
    PRIMARY KEY (customer_id, handling_id)
);

ALTER TABLE customers ADD COLUMN snoozed_until timestamptz;
ALTER TABLE accounts ADD COLUMN holdout_percent real NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN contact_event text;
