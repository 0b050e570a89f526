-- name: take_news
-- Takes the notes left for customers while their row was locked, if it is free now; for erased customers they are deleted.
WITH told AS (
    SELECT DISTINCT customer_id FROM (SELECT customer_id FROM news LIMIT %(limit)s) AS first
), people AS MATERIALIZED (
    SELECT customer_id, coalesce(
        (SELECT true FROM customers WHERE customers.customer_id = told.customer_id FOR UPDATE SKIP LOCKED),
        (SELECT false FROM customers WHERE customers.customer_id = told.customer_id)
    ) AS ours
    FROM told
), taken AS (
    DELETE FROM news USING people
    WHERE news.customer_id = people.customer_id AND ours IS NOT FALSE
    RETURNING news.*
)
UPDATE customers
SET first_seen = least(customers.first_seen, new.first_seen),
    last_seen = greatest(customers.last_seen, new.last_seen),
    due_because = 'event',
    rescore_at = least(rescore_at, greatest(now(), (
        scored_at AT TIME ZONE 'UTC' + %(rescore_seconds)s * '1 second'::interval
    ) AT TIME ZONE 'UTC'))
FROM (
    SELECT customer_id, min(first_seen) AS first_seen, max(last_seen) AS last_seen FROM taken GROUP BY customer_id
) AS new
WHERE customers.customer_id = new.customer_id

-- name: take_due
-- Customers who are due by an event come first, of some accounts in turn (those after the one given, in equal parts);
-- then all others, those who have been due for longest first. The last column is the account after which the next turns
-- begin; null: at the first one.
WITH RECURSIVE turns AS (
    (SELECT account_id, 1 AS place FROM customers
     WHERE due_because = 'event' AND account_id > %(after)s ORDER BY account_id LIMIT 1)
    UNION ALL
    SELECT following.account_id, place + 1
    FROM turns
    CROSS JOIN LATERAL (
        SELECT account_id FROM customers
        WHERE due_because = 'event' AND customers.account_id > turns.account_id ORDER BY account_id LIMIT 1
    ) AS following
    WHERE place < %(accounts)s
), urgent AS MATERIALIZED (
    SELECT theirs.*
    FROM turns
    CROSS JOIN LATERAL (
        SELECT customer_id, account_id, first_seen, due_because, scored_at, recorded_at, recorded_level, recorded_state,
               model, horizon_days, generation, stale_input, provisional FROM customers
        WHERE due_because = 'event' AND customers.account_id = turns.account_id AND rescore_at <= now()
        ORDER BY rescore_at
        LIMIT 1 + (%(limit)s - 1) / (SELECT count(*) FROM turns)
        FOR UPDATE SKIP LOCKED
    ) AS theirs
    LIMIT %(limit)s
), others AS MATERIALIZED (
    SELECT customer_id, account_id, first_seen, due_because, scored_at, recorded_at, recorded_level, recorded_state,
           model, horizon_days, generation, stale_input, provisional FROM customers
    WHERE rescore_at <= now() AND customer_id NOT IN (SELECT customer_id FROM urgent)
    ORDER BY rescore_at
    LIMIT %(limit)s - (SELECT count(*) FROM urgent)
    FOR UPDATE SKIP LOCKED
)
SELECT customer_id::text, account_id, extract(epoch FROM now())::float8, extract(epoch FROM first_seen)::float8,
       due_because, extract(epoch FROM scored_at)::float8, extract(epoch FROM recorded_at)::float8, recorded_level,
       recorded_state, model, horizon_days, generation, stale_input, provisional,
       (SELECT max(account_id) FROM turns HAVING count(*) = %(accounts)s)
FROM (SELECT * FROM urgent UNION ALL SELECT * FROM others) AS due

-- name: begin_scoring
-- A plan holds for all customers: to plan the reading of one's days takes as long as the reading. It must outlive the day
-- on which there were so few of them that reading them all was the quickest. With Citus Postgres chooses, see
-- lock_shared_to_store.
SELECT set_config('statement_timeout', %(timeout)s, true),
       set_config('plan_cache_mode', CASE WHEN to_regclass('pg_dist_schema') IS NULL THEN 'force_generic_plan' ELSE 'auto' END,
                  true),
       set_config('enable_seqscan', 'off', true)

-- name: postpone_score
UPDATE customers SET rescore_at = now() + interval '1 day', due_because = NULL WHERE customer_id = %(customer_id)s

-- name: release_provisional
-- History is in: provisional scores are computed again, and recorded.
UPDATE customers SET rescore_at = now(), due_because = 'import'
WHERE customer_id IN (
    SELECT customer_id FROM customers
    WHERE provisional AND account_id <> ALL (%(arriving)s::integer[]) AND rescore_at > now()
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)

-- name: any_due
SELECT EXISTS (SELECT FROM customers WHERE rescore_at <= now()) OR EXISTS (SELECT FROM news)
    OR EXISTS (SELECT FROM renewals)

-- name: read_days
-- The rows of the latest days of each customer, `rows` at most. All numbers in one value (packed_rows.PACKED), but for values
-- that aren't 0, in another; words once for all the rows that share them, with the number of these rows. No name holds a
-- control character, so they may separate words.
SELECT string_agg(packed, ''), string_agg(amounts, ''), string_agg(int4send(size), ''),
       string_agg(event || E'\x1f' || detail || E'\x1f' || coalesce(plan, ''), E'\n')
FROM (
    SELECT event, detail, plan, count(*)::integer AS size,
           string_agg(int8send(((given.number - 1) << 48) | ((day - '1970-01-01')::bigint << 32)
                               | (n::bigint << 1) | (value <> 0)::integer) || timestamptz_send(last_at), '') AS packed,
           string_agg(float8send(value::float8), '') FILTER (WHERE value <> 0) AS amounts
    FROM unnest(%(customer_ids)s::uuid[]) WITH ORDINALITY AS given (customer_id, number)
    CROSS JOIN LATERAL (  -- LIMIT keeps it a look-up for each customer, however large the table
        SELECT * FROM customer_days AS days
        WHERE days.customer_id = given.customer_id
        ORDER BY day DESC
        LIMIT %(rows)s
    ) AS days
    GROUP BY event, detail, plan
) AS words

-- name: read_earlier_days
-- The same of customers who have more rows than that: what a risk looks at, on the day `until` of each and before it.
-- That is what lasts, whatever its date; and as far back as `reach` days before the last engagement (without any, before
-- the last event that does not last) all since the day `recent`, and events with a role. Before `recent`, other events are
-- read on three days: the first, the last, and the last that names a plan. OFFSET 0 has each date looked up once.
SELECT string_agg(packed, ''), string_agg(amounts, ''), string_agg(int4send(size), ''),
       string_agg(event || E'\x1f' || detail || E'\x1f' || coalesce(plan, ''), E'\n')
FROM (
    SELECT event, detail, plan, count(*)::integer AS size,
           string_agg(int8send((given.number::bigint << 48) | ((day - '1970-01-01')::bigint << 32)
                               | (n::bigint << 1) | (value <> 0)::integer) || timestamptz_send(last_at), '') AS packed,
           string_agg(float8send(value::float8), '') FILTER (WHERE value <> 0) AS amounts
    FROM (
        SELECT customer_id, number, '1970-01-01'::date + until AS until, '1970-01-01'::date + recent AS recent
        FROM unnest(%(customer_ids)s::uuid[], %(numbers)s::integer[], %(until)s::integer[], %(recent)s::integer[])
             AS given (customer_id, number, until, recent)
    ) AS given
    CROSS JOIN LATERAL (
        SELECT (
            SELECT day FROM customer_days AS days
            WHERE days.customer_id = given.customer_id AND event <> ALL (%(lasting)s::text[])
            ORDER BY day LIMIT 1
        ) AS first_day, (
            SELECT day FROM customer_days AS days
            WHERE days.customer_id = given.customer_id AND event = ANY (%(engagement)s::text[])
            ORDER BY day DESC LIMIT 1
        ) AS last_use
        OFFSET 0
    ) AS ends
    CROSS JOIN LATERAL (
        SELECT CASE WHEN last_use IS NOT NULL THEN (
            SELECT day FROM customer_days AS days
            WHERE days.customer_id = given.customer_id AND event = ANY (%(engagement)s::text[])
            ORDER BY day LIMIT 1
        ) END AS first_use, coalesce(last_use, (
            SELECT day FROM customer_days AS days
            WHERE days.customer_id = given.customer_id AND event <> ALL (%(lasting)s::text[])
            ORDER BY day DESC LIMIT 1
        ), '2200-01-01') - %(reach)s::integer AS since
        OFFSET 0
    ) AS known
    CROSS JOIN LATERAL (
        SELECT (
            SELECT day FROM customer_days AS days
            WHERE days.customer_id = given.customer_id AND day >= since AND day < recent
              AND event <> ALL (%(lasting)s::text[])
            ORDER BY day DESC LIMIT 1
        ) AS last_before, (
            SELECT day FROM customer_days AS days
            WHERE days.customer_id = given.customer_id AND day >= since AND day < recent AND plan IS NOT NULL
            ORDER BY day DESC LIMIT 1
        ) AS last_plan
        OFFSET 0
    ) AS before
    CROSS JOIN LATERAL (
        (SELECT * FROM customer_days AS days
         WHERE days.customer_id = given.customer_id AND day BETWEEN greatest(since, recent) AND until
         ORDER BY day DESC LIMIT %(rows)s)
        UNION ALL
        (SELECT * FROM customer_days AS days
         WHERE days.customer_id = given.customer_id AND day >= since AND day < recent
           AND event = ANY (%(roles)s::text[])
         ORDER BY day DESC LIMIT %(rows)s)
        UNION ALL
        (SELECT * FROM customer_days AS days
         WHERE days.customer_id = given.customer_id AND day < since AND day <= until
           AND event = ANY (%(lasting)s::text[])
         ORDER BY day DESC LIMIT %(rows)s)
        UNION ALL
        (SELECT * FROM customer_days AS days
         WHERE days.customer_id = given.customer_id AND day IN (first_day, first_use, last_before, last_plan)
           AND day <= until AND event <> ALL (%(lasting)s::text[])
           AND (day < since OR day < recent AND event <> ALL (%(roles)s::text[]))
         LIMIT %(rows)s)
    ) AS days
    GROUP BY event, detail, plan
) AS words

-- name: find_earlier_days
-- Earlier days of customers as they were kept, where these still hold.
SELECT number, until - '1970-01-01', earlier_days.rows, words
FROM unnest(%(customer_ids)s::uuid[], %(numbers)s::integer[]) AS given (customer_id, number)
JOIN earlier_days USING (customer_id)
WHERE scope = %(scope)s::bytea AND until <= '1970-01-01'::date + %(since)s::integer
  AND NOT EXISTS (SELECT FROM rebuilds WHERE rebuilds.customer_id = given.customer_id)

-- name: keep_earlier_days
INSERT INTO earlier_days (customer_id, until, oldest, scope, rows, words)
VALUES (%(customer_id)s, '1970-01-01'::date + %(until)s::integer, '1970-01-01'::date + %(oldest)s::integer,
        %(scope)s::bytea, %(rows)s::bytea, %(words)s)
ON CONFLICT (customer_id) DO UPDATE
SET until = excluded.until, oldest = excluded.oldest, scope = excluded.scope, rows = excluded.rows, words = excluded.words

-- name: write_scores
-- Times come in epoch seconds; NaN stands for an unknown one.
WITH scored AS (
    SELECT * FROM unnest(
        %(customer_id)s::uuid[], %(rescore_at)s::float8[], %(probability)s::real[], %(level)s::text[],
        %(state)s::text[], %(low_confidence)s::boolean[], %(plan)s::text[], %(open_tickets)s::integer[],
        %(overdue_since)s::float8[], %(nps)s::real[], %(reasons)s::text[], %(advice)s::text[], %(because)s::text[],
        %(recorded)s::boolean[], %(last_active)s::float8[], %(paid)s::float8[], %(risk_before)s::real[],
        %(lapsed_at)s::float8[], %(horizon_days)s::integer[], %(last_seen)s::float8[], %(stood_at)s::text[]
    ) AS scored (customer_id, rescore_at, probability, level, state, low_confidence, plan, open_tickets,
                 overdue_since, nps, reasons, advice, because, recorded, last_active, paid, risk_before, lapsed_at,
                 horizon_days, last_seen, stood_at)
), noted AS (
    INSERT INTO risk_history (customer_id, at, probability, level, state, model, horizon_days, because)
    SELECT customer_id, %(scored_at)s, probability, level, state, %(model)s, horizon_days, because
    FROM scored WHERE recorded
    ORDER BY customer_id
    ON CONFLICT DO NOTHING
    RETURNING customer_id, at
), levels AS (
    SELECT standing(scored.state, scored.level) AS level, coalesce(stood_at, (
        SELECT standing(rebuilt.state, rebuilt.level) FROM risk_rebuilt AS rebuilt
        WHERE rebuilt.customer_id = scored.customer_id ORDER BY rebuilt.at DESC LIMIT 1
    )) AS level_before
    FROM noted JOIN scored USING (customer_id)
), moved AS (  -- see level_moves.sql
    INSERT INTO risk_moves (account_id, day, level, customers)
    SELECT %(account_id)s, (%(scored_at)s::timestamptz AT TIME ZONE 'UTC')::date, level, sum(customers)
    FROM (
        SELECT level, 1 AS customers FROM levels
        UNION ALL
        SELECT level_before, -1 FROM levels WHERE level_before IS NOT NULL
    ) AS moves
    GROUP BY level HAVING sum(customers) <> 0
)
UPDATE customers
SET scored_at = %(scored_at)s, recorded_at = coalesce(noted.at, customers.recorded_at),
    recorded_level = CASE WHEN noted.at IS NULL THEN customers.recorded_level ELSE scored.level END,
    recorded_state = CASE WHEN noted.at IS NULL THEN customers.recorded_state ELSE scored.state END,
    comparable_since = CASE
        WHEN customers.generation = %(generation)s OR customers.scored_at IS NULL THEN customers.comparable_since
        ELSE %(scored_at)s::timestamptz END,
    provisional = %(provisional)s, generation = %(generation)s, due_because = NULL,
    rescore_at = to_timestamp(scored.rescore_at), probability = scored.probability, level = scored.level,
    state = scored.state, model = %(model)s, horizon_days = scored.horizon_days, plan = scored.plan,
    low_confidence = scored.low_confidence, stale_input = %(stale_input)s, open_tickets = scored.open_tickets,
    overdue_since = to_timestamp(nullif(scored.overdue_since, 'NaN')), nps = nullif(scored.nps, 'NaN')::integer,
    reasons = scored.reasons::jsonb, advice = scored.advice::jsonb,
    snoozed_until = CASE WHEN scored.level = customers.level OR scored.probability <= customers.probability
                         THEN customers.snoozed_until END,  -- a rise of the level ends it
    last_active = CASE WHEN %(lists)s THEN to_timestamp(nullif(scored.last_active, 'NaN')) ELSE customers.last_active END,
    paid = CASE WHEN %(lists)s THEN nullif(scored.paid, 'NaN') ELSE customers.paid END,
    lapsed_at = CASE WHEN %(lists)s THEN to_timestamp(nullif(scored.lapsed_at, 'NaN')) ELSE customers.lapsed_at END,
    risk_before = CASE WHEN noted.at IS NULL THEN customers.risk_before ELSE nullif(scored.risk_before, 'NaN') END,
    last_seen = greatest(customers.last_seen, to_timestamp(nullif(scored.last_seen, 'NaN')))
FROM scored LEFT JOIN noted USING (customer_id)
WHERE customers.customer_id = scored.customer_id
