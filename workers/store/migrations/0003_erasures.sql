CREATE TABLE erasures (
    customer_id uuid NOT NULL,
    erased_at timestamptz NOT NULL,
    erasure_id uuid NOT NULL DEFAULT gen_random_uuid(),
    account_id integer NOT NULL,
    events bigint NOT NULL,
    event_ids bigint NOT NULL,
    days bigint NOT NULL,
    risks bigint NOT NULL,
    dead_letters bigint NOT NULL,
    PRIMARY KEY (customer_id, erased_at)
);

CREATE INDEX erasures_recent ON erasures (erased_at);
