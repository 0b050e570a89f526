-- Events of customers whose row somebody else held when they were stored: nobody waits for it, and the next score takes
-- in when they were seen.
CREATE TABLE news (
    customer_id uuid NOT NULL,
    news_id uuid NOT NULL DEFAULT gen_random_uuid(),
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    PRIMARY KEY (customer_id, news_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
