-- Days of pruned events that came to a customer with another one's history, and the transaction that brought them: tallies
-- count them as they count events.
CREATE TABLE arriving (
    customer_id uuid NOT NULL,
    arriving_id uuid NOT NULL DEFAULT gen_random_uuid(),
    event text COLLATE "C" NOT NULL,
    day date NOT NULL,
    n bigint NOT NULL,
    last_at timestamptz NOT NULL,
    stored_by bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    PRIMARY KEY (customer_id, arriving_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
