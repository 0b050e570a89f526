-- name: take_news
-- Of customers whose row is free, what was left for them while it was not; of those that are gone, it goes.
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
    rescore_at = least(rescore_at, greatest(now(), scored_at + %(rescore_seconds)s * '1 second'::interval))
FROM (
    SELECT customer_id, min(first_seen) AS first_seen, max(last_seen) AS last_seen FROM taken GROUP BY customer_id
) AS new
WHERE customers.customer_id = new.customer_id

-- name: take_due
SELECT customer_id::text, account_id, extract(epoch FROM now())::float8, extract(epoch FROM first_seen)::float8
FROM customers
WHERE rescore_at <= now()
ORDER BY rescore_at
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: any_due
SELECT EXISTS (SELECT FROM customers WHERE rescore_at <= now()) OR EXISTS (SELECT FROM news)

-- name: read_days
-- Each column in one value. No name holds a control character, so they may separate words.
SELECT array_send(array_agg(given.number::integer - 1)), array_send(array_agg(day - '1970-01-01'::date)),
       array_send(array_agg(n)), array_send(array_agg(value)), array_send(array_agg(last_at)),
       string_agg(event || E'\x1f' || detail || E'\x1f' || coalesce(plan, ''), E'\n')
FROM unnest(%(customer_ids)s::uuid[]) WITH ORDINALITY AS given (customer_id, number)
CROSS JOIN LATERAL (  -- OFFSET keeps it a look-up for each customer, however large the table
    SELECT * FROM customer_days AS days WHERE days.customer_id = given.customer_id OFFSET 0
) AS days

-- name: read_days_in_reach
-- The same for long histories: the very first day, what lasts, and what is no more than `reach` days before the last
-- engagement (of who has never been engaged, the last event that does not last).
SELECT array_send(array_agg(given.number::integer - 1)), array_send(array_agg(day - '1970-01-01'::date)),
       array_send(array_agg(n)), array_send(array_agg(value)), array_send(array_agg(last_at)),
       string_agg(event || E'\x1f' || detail || E'\x1f' || coalesce(plan, ''), E'\n')
FROM unnest(%(customer_ids)s::uuid[]) WITH ORDINALITY AS given (customer_id, number)
CROSS JOIN LATERAL (
    SELECT (
        SELECT day FROM customer_days AS days
        WHERE days.customer_id = given.customer_id AND event <> ALL (%(lasting)s::text[])
        ORDER BY day LIMIT 1
    ) AS first_day, coalesce((
        SELECT day FROM customer_days AS days
        WHERE days.customer_id = given.customer_id AND event = ANY (%(engagement)s::text[])
        ORDER BY day DESC LIMIT 1
    ), (
        SELECT day FROM customer_days AS days
        WHERE days.customer_id = given.customer_id AND event <> ALL (%(lasting)s::text[])
        ORDER BY day DESC LIMIT 1
    ), '2200-01-01') - %(reach)s::integer AS since
) AS known
CROSS JOIN LATERAL (
    SELECT * FROM customer_days AS days WHERE days.customer_id = given.customer_id AND day >= since
    UNION ALL
    SELECT * FROM customer_days AS days
    WHERE days.customer_id = given.customer_id AND day < since AND event = ANY (%(lasting)s::text[])
    UNION ALL
    SELECT * FROM customer_days AS days
    WHERE days.customer_id = given.customer_id AND day < since AND day = first_day AND event <> ALL (%(lasting)s::text[])
    OFFSET 0
) AS days

-- name: write_scores
WITH scored AS (
    SELECT * FROM unnest(
        %(customer_id)s::uuid[], %(rescore_at)b::timestamptz[], %(probability)b::real[], %(level)b::text[],
        %(state)b::text[], %(low_confidence)b::boolean[], %(plan)b::text[], %(open_tickets)b::integer[],
        %(overdue_since)b::timestamptz[], %(nps)b::integer[], %(reasons)b::text[]::jsonb[], %(advice)b::text[]::jsonb[]
    ) AS scored (customer_id, rescore_at, probability, level, state, low_confidence, plan, open_tickets,
                 overdue_since, nps, reasons, advice)
), noted AS (
    INSERT INTO risk_history (customer_id, at, probability, level, state, model, horizon_days)
    SELECT customer_id, %(scored_at)s, scored.probability, scored.level, scored.state, %(model)s,
           %(horizon_days)s::integer
    FROM scored JOIN customers AS before USING (customer_id)
    WHERE before.recorded_at IS NULL
       OR before.recorded_at <= %(scored_at)s::timestamptz - interval '1 day'
       OR before.level IS DISTINCT FROM scored.level
       OR before.state IS DISTINCT FROM scored.state
       OR before.horizon_days <> %(horizon_days)s::integer
    ORDER BY customer_id
    ON CONFLICT DO NOTHING
    RETURNING customer_id, at
), levels AS (
    SELECT before.account_id, standing(scored.state, scored.level) AS level,
           CASE WHEN before.recorded_at IS NULL THEN (
                    SELECT standing(state, level) FROM risk_rebuilt
                    WHERE risk_rebuilt.customer_id = before.customer_id ORDER BY at DESC LIMIT 1
                )
                ELSE standing(before.state, before.level) END AS level_before
    FROM noted JOIN scored USING (customer_id) JOIN customers AS before USING (customer_id)
), moved AS (  -- see level_moves.sql
    INSERT INTO risk_moves (account_id, day, level, customers)
    SELECT account_id, (%(scored_at)s::timestamptz AT TIME ZONE 'UTC')::date, level, sum(customers)
    FROM (
        SELECT account_id, level, 1 AS customers FROM levels
        UNION ALL
        SELECT account_id, level_before, -1 FROM levels WHERE level_before IS NOT NULL
    ) AS moves
    GROUP BY account_id, level HAVING sum(customers) <> 0
)
UPDATE customers
SET scored_at = %(scored_at)s, recorded_at = coalesce(noted.at, customers.recorded_at),
    rescore_at = scored.rescore_at, probability = scored.probability, level = scored.level, state = scored.state,
    model = %(model)s, horizon_days = %(horizon_days)s::integer, low_confidence = scored.low_confidence, plan = scored.plan,
    stale_input = %(stale_input)s, open_tickets = scored.open_tickets, overdue_since = scored.overdue_since,
    nps = scored.nps, reasons = scored.reasons, advice = scored.advice,
    last_seen = greatest(customers.last_seen, (
        SELECT max(last_at) FROM customer_days AS days
        WHERE days.customer_id = customers.customer_id
          AND days.day >= (customers.last_seen AT TIME ZONE 'UTC')::date
    ))
FROM scored LEFT JOIN noted USING (customer_id)
WHERE customers.customer_id = scored.customer_id
