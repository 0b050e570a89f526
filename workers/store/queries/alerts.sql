-- Alerts: written with the score that gives rise to them.

-- name: note_alerting
-- Since when this database has been in use without a gap: of a new one, always; of a copy that was restored, or one that
-- nobody served for an hour, since now. The identity and the count of transactions tell a copy from its original;
-- transactions side by side note theirs in any order, so the count may be behind by some.
INSERT INTO alerting (identity, last_xid, seen_at, since)
SELECT (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || 'customers'::regclass::oid,
       pg_current_xact_id()::text::bigint, now(), '-infinity'
ON CONFLICT (single) DO UPDATE
SET since = CASE
        WHEN alerting.identity <> excluded.identity OR alerting.last_xid > excluded.last_xid + 100000
          OR excluded.seen_at - alerting.seen_at > interval '1 hour' THEN excluded.seen_at
        ELSE alerting.since
    END,
    identity = excluded.identity, last_xid = excluded.last_xid, seen_at = excluded.seen_at
WHERE alerting.identity <> excluded.identity OR alerting.last_xid > excluded.last_xid + 100000
   OR excluded.seen_at - alerting.seen_at > interval '5 seconds'

-- name: adopt_alerting
-- These tables are copies that go on in place of their original: they are in use for as long as that was.
UPDATE alerting
SET identity = (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || 'customers'::regclass::oid,
    last_xid = pg_current_xact_id()::text::bigint

-- name: alerting_since
-- Null where it is not known: then no alert is given. It is noted every few seconds.
SELECT extract(epoch FROM greatest(since, '2000-01-01'::timestamptz))::float8 FROM alerting
WHERE identity = (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || 'customers'::regclass::oid
  AND last_xid <= pg_current_xact_id()::text::bigint + 100000 AND seen_at >= now() - interval '1 hour'

-- name: find_before
-- The addresses of these customers, and their risks as they were last recorded before this moment.
SELECT customer_id::text, email, (
    SELECT probability FROM risk_history
    WHERE risk_history.customer_id = customers.customer_id AND at < %(at)s
    ORDER BY at DESC LIMIT 1
)
FROM customers WHERE customer_id = ANY (%(customer_ids)s::uuid[])

-- name: find_disarmed
-- Of these customers and levels, those about which an alert was given already, unless the risk has since been below the
-- level for a day. Ranks are 0 for low to 3 for critical.
SELECT asked.customer_id::text, asked.rank
FROM unnest(%(customer_ids)s::uuid[]) AS customer (customer_id)
CROSS JOIN unnest(%(ranks)s::integer[]) AS level (rank)
CROSS JOIN LATERAL (SELECT customer.customer_id, level.rank) AS asked
WHERE EXISTS (
    SELECT FROM alerts
    WHERE alerts.customer_id = asked.customer_id
      AND array_position(%(names)s::text[], alerts.level) > asked.rank
      AND array_position(%(names)s::text[], alerts.level_before) <= asked.rank
) AND coalesce((
    SELECT min(below.at) > %(at)s::timestamptz - interval '1 day'
    FROM risk_history AS below
    WHERE below.customer_id = asked.customer_id AND below.at < %(at)s AND below.at > (
        SELECT max(above.at) FROM risk_history AS above
        WHERE above.customer_id = asked.customer_id AND above.at < %(at)s
          AND array_position(%(names)s::text[], above.level) > asked.rank
    )
), true)

-- name: write_alerts
INSERT INTO alerts (
    customer_id, alert_id, account_id, at, level_before, level, probability, horizon_days, reasons, advice, held_out
)
SELECT customer_id, alert_id, %(account_id)s, %(at)s, level_before, level, probability, %(horizon_days)s, reasons,
       advice, held_out
FROM unnest(
    %(customer_id)s::uuid[], %(alert_id)s::uuid[], %(level_before)s::text[], %(level)s::text[], %(probability)s::real[],
    %(reasons)s::text[]::jsonb[], %(advice)s::text[]::jsonb[], %(held_out)s::boolean[]
) AS risen (customer_id, alert_id, level_before, level, probability, reasons, advice, held_out)
ON CONFLICT DO NOTHING

-- name: write_deliveries
INSERT INTO deliveries (customer_id, alert_id, webhook_id, at)
SELECT customer_id, alert_id, webhook_id, %(at)s
FROM unnest(%(customer_id)s::uuid[], %(alert_id)s::uuid[], %(webhook_id)s::uuid[])
     AS wanted (customer_id, alert_id, webhook_id)
ON CONFLICT DO NOTHING

-- name: account_holdout
SELECT holdout_percent FROM accounts WHERE account_id = %(account_id)s

-- name: list_alerts
SELECT alert_id::text, customer_id::text, email, alerts.at, level_before, alerts.level, alerts.probability,
       name, company, plan, mrr, currency, mrr * alerts.probability AS mrr_at_risk,
       alerts.reasons -> 0 ->> 'text' AS reason, alerts.advice ->> 'strategy' AS strategy, held_out,
       coalesce((
           SELECT jsonb_agg(jsonb_build_object(
               'webhook_id', webhook_id, 'state', state, 'attempts', attempts, 'last_status', last_status,
               'next_attempt_at', CASE WHEN state = 'waiting' THEN to_char(
                   next_attempt_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
               ) END, 'error', last_error
           ) ORDER BY webhook_id)
           FROM deliveries
           WHERE deliveries.customer_id = alerts.customer_id AND deliveries.alert_id = alerts.alert_id
       ), '[]')::text AS deliveries
FROM alerts JOIN customers USING (customer_id)
WHERE alerts.account_id = %(account_id)s
  AND (%(first)s OR (alerts.at, alert_id) < (%(after_at)s::timestamptz, %(after_id)s::uuid))
ORDER BY alerts.at DESC, alert_id DESC
LIMIT %(limit)s

-- name: find_alert
SELECT customer_id::text, held_out FROM alerts
WHERE account_id = %(account_id)s AND alert_id = %(alert_id)s::uuid
LIMIT 1

-- name: find_words
-- Customers' own words: the subjects of their tickets, the reasons of refunds, the comments of NPS responses, newest first.
-- Their days tell where to look, so it is a few look-ups however long a history is.
SELECT asked.customer_id::text, said.event, said.text
FROM unnest(%(customer_ids)s::uuid[]) AS asked (customer_id)
CROSS JOIN LATERAL (
    SELECT event, day FROM customer_days AS days
    WHERE days.customer_id = asked.customer_id AND day >= (now() AT TIME ZONE 'UTC')::date - %(days)s::integer
      AND event = ANY (%(events)s::text[])
    GROUP BY event, day
    ORDER BY day DESC
    LIMIT 20
) AS days
CROSS JOIN LATERAL (
    SELECT events.event, occurred_at, CASE WHEN jsonb_typeof(properties -> word.name) = 'string' THEN
               left(properties ->> word.name, 400) END AS text
    FROM events CROSS JOIN LATERAL (
        SELECT (%(words)s::text[])[array_position(%(events)s::text[], events.event)] AS name
    ) AS word
    WHERE events.customer_id = asked.customer_id AND events.event = days.event
      AND occurred_at >= days.day::timestamp AT TIME ZONE 'UTC'
      AND occurred_at < (days.day + 1)::timestamp AT TIME ZONE 'UTC'
    ORDER BY occurred_at DESC
    LIMIT 10
) AS said
ORDER BY asked.customer_id, said.occurred_at DESC

-- name: find_named
-- The names of customers and of their companies, where known.
SELECT customer_id::text,
       CASE WHEN jsonb_typeof(traits -> 'name') = 'string' THEN left(traits ->> 'name', 400) END AS name,
       CASE WHEN jsonb_typeof(traits -> 'company') = 'string' THEN left(traits ->> 'company', 400) END AS company
FROM profiles WHERE customer_id = ANY (%(customer_ids)s::uuid[])

-- name: find_failures
-- The last thing that failed for each of these customers: an event of the account's own whose name says so.
SELECT asked.customer_id::text, failed.event, failed.last_at
FROM unnest(%(customer_ids)s::uuid[]) AS asked (customer_id)
CROSS JOIN LATERAL (
    SELECT event, last_at FROM customer_days AS days
    WHERE days.customer_id = asked.customer_id AND day >= (now() AT TIME ZONE 'UTC')::date - %(days)s::integer
      AND event ~* '(fail|error|crash)' AND event <> ALL (%(recognised)s::text[])
    ORDER BY last_at DESC
    LIMIT 1
) AS failed

-- name: count_outcomes
-- By intention to treat: each customer at the first alert whose horizon is past; lapsed without a sign of use within it,
-- or with an event that means churn.
SELECT strategy, held_out, count(*) AS customers, count(*) FILTER (WHERE lapsed) AS lapsed
FROM (
    SELECT DISTINCT ON (customer_id) customer_id, held_out, advice ->> 'strategy' AS strategy, at,
           at + horizon_days * interval '1 day' AS ends
    FROM alerts
    WHERE account_id = %(account_id)s AND at + horizon_days * interval '1 day' <= now()
    ORDER BY customer_id, at
) AS first
CROSS JOIN LATERAL (
    SELECT NOT EXISTS (
        SELECT FROM customer_days AS days
        WHERE days.customer_id = first.customer_id AND event = ANY (%(engagement)s::text[]) AND last_at > first.at
          AND day >= (first.at AT TIME ZONE 'UTC')::date AND day <= (ends AT TIME ZONE 'UTC')::date
    ) OR EXISTS (
        SELECT FROM customer_days AS days
        WHERE days.customer_id = first.customer_id AND event = ANY (%(churn)s::text[]) AND last_at > first.at
          AND day >= (first.at AT TIME ZONE 'UTC')::date AND day <= (ends AT TIME ZONE 'UTC')::date
    ) AS lapsed
) AS outcome
GROUP BY strategy, held_out
ORDER BY strategy, held_out
