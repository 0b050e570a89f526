-- Alerts on their way to webhooks. A delivery that is taken is leased: should its worker die, another takes it again
-- when the lease is over.

-- name: any_delivery_due
SELECT EXISTS (
    SELECT FROM unnest(%(webhook_ids)s::uuid[]) AS asked (webhook_id)
    WHERE EXISTS (
        SELECT FROM deliveries
        WHERE deliveries.webhook_id = asked.webhook_id AND state = 'waiting' AND admitted_at IS NOT NULL
          AND next_attempt_at <= now()
    ) OR EXISTS (
        SELECT FROM deliveries
        WHERE deliveries.webhook_id = asked.webhook_id AND state = 'waiting' AND admitted_at IS NULL
          AND summary_id IS NULL
    ) OR EXISTS (
        SELECT FROM summaries
        WHERE summaries.webhook_id = asked.webhook_id AND state IN ('gathering', 'waiting')
          AND next_attempt_at <= now()
    )
)

-- name: webhooks_to_admit
SELECT webhook_id::text FROM unnest(%(webhook_ids)s::uuid[]) AS asked (webhook_id)
WHERE EXISTS (
    SELECT FROM deliveries
    WHERE deliveries.webhook_id = asked.webhook_id AND state = 'waiting' AND admitted_at IS NULL AND summary_id IS NULL
)

-- name: has_room
-- True if the hour has room for more: then the waiting ones came after the others were admitted.
SELECT count(*) < %(cap)s FROM (
    SELECT FROM deliveries
    WHERE webhook_id = %(webhook_id)s::uuid AND admitted_at > now() - interval '1 hour' LIMIT %(cap)s
) AS admitted

-- name: lock_webhook
-- One worker at a time admits the alerts of a webhook; none waits for another.
SELECT webhook_id::text FROM webhooks WHERE webhook_id = %(webhook_id)s::uuid FOR NO KEY UPDATE SKIP LOCKED

-- name: admit
-- As many of the oldest as the hour has room for.
WITH room AS (
    SELECT greatest(%(cap)s - count(*), 0) AS room FROM (
        SELECT FROM deliveries
        WHERE webhook_id = %(webhook_id)s::uuid AND admitted_at > now() - interval '1 hour' LIMIT %(cap)s
    ) AS admitted
), chosen AS (
    SELECT customer_id, alert_id FROM deliveries
    WHERE webhook_id = %(webhook_id)s::uuid AND state = 'waiting' AND admitted_at IS NULL AND summary_id IS NULL
    ORDER BY at, customer_id
    LIMIT (SELECT room FROM room)
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries SET admitted_at = now()
FROM chosen
WHERE deliveries.customer_id = chosen.customer_id AND deliveries.alert_id = chosen.alert_id
  AND webhook_id = %(webhook_id)s::uuid

-- name: gather_summary
-- The summary that more alerts may join: it waits a little longer for them. Else a new one, an hour after the last.
WITH open AS (
    UPDATE summaries
    SET next_attempt_at = greatest(
        next_attempt_at, least(
            now() + %(gather)s * interval '1 second',
            (created_at AT TIME ZONE 'UTC' + %(longest)s * interval '1 second') AT TIME ZONE 'UTC'
        )
    )
    WHERE webhook_id = %(webhook_id)s::uuid AND state = 'gathering'
    RETURNING summary_id
), begun AS (
    INSERT INTO summaries (webhook_id, next_attempt_at, give_up_at)
    SELECT %(webhook_id)s::uuid, due.at, due.at + interval '3 days'
    FROM (
        SELECT greatest(now() + %(gather)s * interval '1 second', max(created_at) + interval '1 hour') AS at
        FROM summaries WHERE webhook_id = %(webhook_id)s::uuid
    ) AS due
    WHERE NOT EXISTS (SELECT FROM open)
    RETURNING summary_id
)
SELECT summary_id::text FROM open UNION ALL SELECT summary_id::text FROM begun

-- name: join_summary
UPDATE deliveries SET summary_id = %(summary_id)s::uuid
WHERE webhook_id = %(webhook_id)s::uuid AND state = 'waiting' AND admitted_at IS NULL AND summary_id IS NULL

-- name: take_deliveries
-- For each webhook as many as it has room for: those that are due, a customer's in their order.
WITH chosen AS MATERIALIZED (
    SELECT due.*
    FROM unnest(%(webhook_ids)s::uuid[], %(rooms)s::integer[]) AS asked (webhook_id, room)
    CROSS JOIN LATERAL (
        SELECT customer_id, alert_id, webhook_id FROM deliveries
        WHERE deliveries.webhook_id = asked.webhook_id AND state = 'waiting' AND admitted_at IS NOT NULL
          AND next_attempt_at <= now()
          AND NOT EXISTS (
              SELECT FROM deliveries AS earlier
              WHERE earlier.customer_id = deliveries.customer_id AND earlier.webhook_id = deliveries.webhook_id
                AND earlier.state = 'waiting' AND earlier.at < deliveries.at
          )
        ORDER BY next_attempt_at
        LIMIT asked.room
        FOR UPDATE SKIP LOCKED
    ) AS due
), taken AS (
    UPDATE deliveries
    SET attempts = attempts + 1, next_attempt_at = now() + %(lease)s * interval '1 second'
    FROM chosen
    WHERE deliveries.customer_id = chosen.customer_id AND deliveries.alert_id = chosen.alert_id
      AND deliveries.webhook_id = chosen.webhook_id
    RETURNING deliveries.customer_id, deliveries.alert_id, deliveries.webhook_id, attempts, give_up_at
)
SELECT taken.customer_id::text, taken.alert_id::text, webhook_id::text, attempts, give_up_at <= now(),
       email, alerts.at, level_before, alerts.level, alerts.probability, alerts.reasons::text, alerts.advice::text, mrr,
       currency
FROM taken JOIN alerts USING (customer_id, alert_id) JOIN customers USING (customer_id)

-- name: take_summaries
WITH chosen AS (
    SELECT summary_id FROM summaries
    WHERE webhook_id = ANY (%(webhook_ids)s::uuid[]) AND state IN ('gathering', 'waiting') AND next_attempt_at <= now()
    ORDER BY next_attempt_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE summaries
    SET state = 'waiting', attempts = attempts + 1, next_attempt_at = now() + %(lease)s * interval '1 second'
    FROM chosen
    WHERE summaries.summary_id = chosen.summary_id
    RETURNING summaries.summary_id, webhook_id, attempts, give_up_at, created_at
)
SELECT summary_id::text, webhook_id::text, attempts, give_up_at <= now(), created_at FROM taken

-- name: summarised
-- How many alerts a summary stands for, and the highest of them.
SELECT email, alerts.at, level_before, alerts.level, alerts.probability, alerts.reasons::text, alerts.advice::text, mrr,
       currency, count(*) OVER () AS total
FROM deliveries JOIN alerts USING (customer_id, alert_id) JOIN customers USING (customer_id)
WHERE summary_id = %(summary_id)s::uuid
ORDER BY alerts.probability DESC, email
LIMIT %(limit)s

-- name: summarised_money
-- The revenue of a summary's customers at each level, and the part at risk: by currency, never converted. A
-- customer of several alerts counts once, by the latest.
SELECT currency, latest.level, count(*), sum(mrr)::bigint, round(sum(mrr * latest.probability))::bigint
FROM (
    SELECT DISTINCT ON (customer_id) customer_id, alerts.level, alerts.probability
    FROM deliveries JOIN alerts USING (customer_id, alert_id)
    WHERE summary_id = %(summary_id)s::uuid
    ORDER BY customer_id, alerts.at DESC
) AS latest JOIN customers USING (customer_id)
WHERE mrr > 0
GROUP BY 1, 2
ORDER BY 5 DESC, 1, 2

-- name: end_attempts
UPDATE deliveries
SET state = ended.state, last_status = ended.status, last_error = ended.error,
    next_attempt_at = to_timestamp(extract(epoch FROM now())::float8 + ended.pause)
FROM unnest(
    %(customer_id)s::uuid[], %(alert_id)s::uuid[], %(webhook_id)s::uuid[], %(state)s::text[], %(status)s::integer[],
    %(error)s::text[], %(pause)s::float8[]
) AS ended (customer_id, alert_id, webhook_id, state, status, error, pause)
WHERE deliveries.customer_id = ended.customer_id AND deliveries.alert_id = ended.alert_id
  AND deliveries.webhook_id = ended.webhook_id AND deliveries.state = 'waiting'

-- name: end_summary
UPDATE summaries SET state = %(state)s, next_attempt_at = now() + %(pause)s * interval '1 second'
WHERE summary_id = %(summary_id)s::uuid

-- name: end_summarised
UPDATE deliveries
SET state = %(state)s, last_status = %(status)s, last_error = %(error)s, attempts = attempts + 1,
    next_attempt_at = now() + %(pause)s * interval '1 second'
WHERE summary_id = %(summary_id)s::uuid AND state = 'waiting'

-- name: give_up_deliveries
-- Those that a disabled webhook has kept for too long.
WITH kept AS MATERIALIZED (
    SELECT customer_id, alert_id, webhook_id FROM deliveries
    WHERE state = 'waiting' AND give_up_at < now() - interval '1 hour'
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries SET state = 'failed', last_error = coalesce(last_error, 'the webhook is disabled')
FROM kept
WHERE deliveries.customer_id = kept.customer_id AND deliveries.alert_id = kept.alert_id
  AND deliveries.webhook_id = kept.webhook_id

-- name: redeliver
-- To every webhook again that is still there, at once and whatever the cap.
UPDATE deliveries
SET state = 'waiting', attempts = 0, admitted_at = now(), summary_id = NULL, next_attempt_at = now(),
    give_up_at = now() + interval '3 days'
WHERE customer_id = %(customer_id)s AND alert_id = %(alert_id)s::uuid
RETURNING webhook_id::text
