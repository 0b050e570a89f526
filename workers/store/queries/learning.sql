-- name: find_ripe
-- The accounts whose first customer came a horizon and three days ago.
SELECT account_id
FROM unnest(%(account_ids)s::integer[], %(horizons)s::integer[]) AS accounts (account_id, horizon_days)
WHERE EXISTS (
    SELECT FROM customers
    WHERE customers.account_id = accounts.account_id
      AND first_seen < now() - (accounts.horizon_days + 3) * interval '1 day'
    OFFSET 0
)

-- name: count_ripening
-- Customers whose latest snapshots have got an outcome of late.
SELECT count(*) FROM customers
WHERE account_id = %(account_id)s
  AND last_seen > now() - (%(horizon_days)s + 17) * interval '1 day'
  AND first_seen < now() - (%(horizon_days)s + 3) * interval '1 day'

-- name: last_snapshots
-- How many snapshots the last training had, and how many days ago that was.
SELECT snapshots, extract(epoch FROM now() - trained_at)::float8 / 86400
FROM trainings WHERE account_id = %(account_id)s
ORDER BY trained_at DESC LIMIT 1

-- name: is_demo_only
-- True if an account has no customers besides those of `windback demo`.
SELECT NOT EXISTS (SELECT FROM customers WHERE account_id = %(account_id)s AND email NOT LIKE %(demo)s)

-- name: has_demo
SELECT EXISTS (SELECT FROM customers WHERE account_id = %(account_id)s AND email LIKE %(demo)s)

-- name: has_others
SELECT EXISTS (SELECT FROM customers WHERE account_id = %(account_id)s AND email NOT LIKE %(demo)s)

-- name: list_demo_models
-- The accounts whose model in use learnt from the simulated company.
SELECT account_id FROM models WHERE in_use AND (card ->> 'demo')::boolean

-- name: is_demo_model
SELECT 1 FROM models WHERE account_id = %(account_id)s AND in_use AND (card ->> 'demo')::boolean

-- name: forget_demo_trainings
DELETE FROM trainings WHERE account_id = %(account_id)s AND (card ->> 'demo')::boolean

-- name: forget_matured
DELETE FROM matured WHERE account_id = %(account_id)s

-- name: read_words
-- The texts of an account's rows, under the numbers that stand for them in read_packed. Only a customer's own
-- invoices are distinguished by their ids, so 4096 numbers for all of an account's do.
SELECT hashtextextended(event || E'\x1f' || detail || E'\x1f' || coalesce(plan, ''), 0), event, detail, plan, rows
FROM (
    SELECT event, CASE
               WHEN event = ANY (%(detailed)s::text[]) THEN detail
               WHEN event = ANY (%(invoiced)s::text[]) AND starts_with(detail, 'invoice:')
               THEN 'invoice:' || (hashtextextended(detail, 0) & 4095)
               ELSE '' END AS detail, days.plan, count(*) AS rows
    FROM customer_days AS days JOIN customers USING (customer_id)
    WHERE account_id = %(account_id)s AND day >= %(since)s AND day < %(until)s
      AND (%(with_demo)s OR email NOT LIKE %(demo)s)
    GROUP BY 1, 2, 3
) AS counted

-- name: read_packed
-- The rows of each customer in one value, numbers alone: numpy reads them without an object for each.
SELECT mine.customer_id::text, days.packed
FROM (
    SELECT customer_id FROM customers
    WHERE account_id = %(account_id)s AND customer_id <= %(last)s::uuid AND (%(with_demo)s OR email NOT LIKE %(demo)s)
    OFFSET 0
) AS mine
CROSS JOIN LATERAL (  -- OFFSET keeps it a look-up for each customer, however large the table
    SELECT string_agg(
        int4send(day - '1970-01-01') || int4send(n::integer) || float8send(value::float8) || timestamptz_send(last_at)
        || int8send(hashtextextended(
            event || E'\x1f' || CASE
                WHEN event = ANY (%(detailed)s::text[]) THEN detail
                WHEN event = ANY (%(invoiced)s::text[]) AND starts_with(detail, 'invoice:')
                THEN 'invoice:' || (hashtextextended(detail, 0) & 4095)
                ELSE '' END || E'\x1f' || coalesce(plan, ''), 0
        )), ''
    ) AS packed
    FROM customer_days
    WHERE customer_days.customer_id = mine.customer_id AND day >= %(since)s AND day < %(until)s
    OFFSET 0
) AS days
WHERE packed IS NOT NULL

-- name: model_in_use
SELECT version, weights::text FROM models WHERE account_id = %(account_id)s AND in_use

-- name: find_model
SELECT weights::text FROM models WHERE account_id = %(account_id)s AND kind || '-' || version = %(name)s

-- name: next_version
SELECT coalesce(max(version), 0) + 1 FROM models WHERE account_id = %(account_id)s

-- name: add_model
INSERT INTO models (account_id, version, kind, weights, card)
VALUES (%(account_id)s, %(version)s, %(kind)s, %(weights)s, %(card)s)

-- name: retire_model
UPDATE models SET in_use = false WHERE account_id = %(account_id)s AND in_use RETURNING version

-- name: use_model
UPDATE models SET in_use = true WHERE account_id = %(account_id)s AND version = %(version)s

-- name: note_replaced
UPDATE models SET replaced = %(replaced)s WHERE account_id = %(account_id)s AND version = %(version)s

-- name: find_replaced
SELECT replaced FROM models WHERE account_id = %(account_id)s AND in_use

-- name: list_models
SELECT accounts.name, version, kind, in_use, models.created_at, card::text
FROM models JOIN accounts USING (account_id)
WHERE %(name)s::text IS NULL OR accounts.name = %(name)s
ORDER BY accounts.account_id, version

-- name: find_version
SELECT weights::text FROM models WHERE account_id = %(account_id)s AND version = %(version)s

-- name: add_training
INSERT INTO trainings (account_id, snapshots, card) VALUES (%(account_id)s, %(snapshots)s, %(card)s)

-- name: last_training
SELECT trained_at, card::text FROM trainings WHERE account_id = %(account_id)s ORDER BY trained_at DESC LIMIT 1

-- name: said_then
-- The risk of each active customer over a horizon, as it stood at a moment: scores are noted at least once a day.
SELECT customer_id::text, said.probability
FROM customers
CROSS JOIN LATERAL (
    SELECT at, probability, state, horizon_days FROM risk_history
    WHERE risk_history.customer_id = customers.customer_id AND at <= %(at)s
    ORDER BY at DESC LIMIT 1
) AS said
WHERE account_id = %(account_id)s AND said.at > %(at)s::timestamptz - interval '3 days' AND said.state = 'active'
  AND said.horizon_days = %(horizon_days)s AND (%(with_demo)s OR email NOT LIKE %(demo)s)
  AND NOT EXISTS (  -- what became of those who were written to is not their own doing alone
      SELECT FROM handlings
      WHERE handlings.customer_id = customers.customer_id AND what = 'contacted' AND handlings.at > %(at)s
        AND handlings.at <= %(at)s::timestamptz + %(horizon_days)s * interval '1 day'
  )
  AND (%(contact_event)s::text IS NULL OR NOT EXISTS (
      SELECT FROM customer_days AS days
      WHERE days.customer_id = customers.customer_id AND event = %(contact_event)s AND last_at > %(at)s
        AND day >= (%(at)s::timestamptz AT TIME ZONE 'UTC')::date
        AND day <= ((%(at)s::timestamptz + %(horizon_days)s * interval '1 day') AT TIME ZONE 'UTC')::date
  ))

-- name: any_matured
SELECT EXISTS (SELECT FROM matured WHERE account_id = %(account_id)s AND day = %(day)s)

-- name: add_matured
INSERT INTO matured (account_id, day, horizon_days, metrics)
VALUES (%(account_id)s, %(day)s, %(horizon_days)s, %(metrics)s)
ON CONFLICT DO NOTHING

-- name: list_matured
-- The latest days, oldest first.
SELECT * FROM (
    SELECT day::timestamptz AS day, metrics::text AS metrics FROM matured WHERE account_id = %(account_id)s
    ORDER BY matured.day DESC LIMIT %(limit)s
) AS latest
ORDER BY day

-- name: show_model
-- One row, whatever there is: the model in use, the last training, the last matured day.
SELECT models.version, models.weights::text AS weights, models.card::text AS card, models.created_at,
       training.trained_at, training.card::text AS training,
       matured.day, matured.horizon_days AS matured_horizon_days, matured.metrics::text AS matured,
       accounts.horizon_chosen, accounts.horizon_learnt, accounts.mappings
FROM (SELECT %(account_id)s::integer AS account_id) AS asked
LEFT JOIN accounts USING (account_id)
LEFT JOIN models ON models.account_id = asked.account_id AND in_use
LEFT JOIN LATERAL (
    SELECT * FROM trainings WHERE trainings.account_id = asked.account_id ORDER BY trained_at DESC LIMIT 1
) AS training ON true
LEFT JOIN LATERAL (
    SELECT * FROM matured WHERE matured.account_id = asked.account_id ORDER BY day DESC LIMIT 1
) AS matured ON true

-- name: list_contacts
SELECT customer_id::text, extract(epoch FROM at)::float8 FROM handlings
WHERE account_id = %(account_id)s AND what = 'contacted'

-- name: find_contact_event
SELECT contact_event FROM accounts WHERE account_id = %(account_id)s
