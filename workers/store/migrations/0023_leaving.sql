-- What an erased customer had sent, for the totals that know it: who erases doesn't wait for a tally.
CREATE TABLE leaving (
    customer_id uuid NOT NULL,
    leaving_id uuid NOT NULL DEFAULT gen_random_uuid(),
    account_id integer NOT NULL,
    event text COLLATE "C" NOT NULL,
    day date NOT NULL,
    hour timestamptz,
    stored_by bigint NOT NULL,
    n bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (customer_id, leaving_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
