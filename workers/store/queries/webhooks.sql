-- Where alerts go.

-- name: create_webhook
INSERT INTO webhooks (account_id, url, format, min_level, description, secret)
SELECT %(account_id)s, %(url)s, %(format)s, %(min_level)s, %(description)s, %(secret)s
WHERE (SELECT count(*) FROM webhooks WHERE account_id = %(account_id)s) < %(most)s
RETURNING webhook_id::text, url, format, min_level, description, enabled, created_at, last_at, last_status

-- name: list_webhooks
SELECT webhook_id::text, url, format, min_level, description, enabled, created_at, last_at, last_status
FROM webhooks WHERE account_id = %(account_id)s
ORDER BY created_at, webhook_id

-- name: find_receiver
SELECT webhook_id::text, account_id, url, format, secret
FROM webhooks WHERE webhook_id = %(webhook_id)s::uuid AND account_id = %(account_id)s

-- name: list_receivers
SELECT webhook_id::text, account_id, url, format, secret FROM webhooks WHERE enabled ORDER BY created_at

-- name: list_min_levels
SELECT webhook_id::text, min_level FROM webhooks WHERE account_id = %(account_id)s AND enabled

-- name: change_webhook
-- A field stays where its parameter is null; a description may be emptied.
UPDATE webhooks
SET url = coalesce(%(url)s, url), min_level = coalesce(%(min_level)s, min_level),
    enabled = coalesce(%(enabled)s, enabled), description = nullif(coalesce(%(description)s, description), '')
WHERE webhook_id = %(webhook_id)s::uuid AND account_id = %(account_id)s
RETURNING webhook_id::text

-- name: remove_webhook
DELETE FROM webhooks WHERE webhook_id = %(webhook_id)s::uuid AND account_id = %(account_id)s RETURNING webhook_id::text

-- name: remove_deliveries
DELETE FROM deliveries WHERE webhook_id = %(webhook_id)s::uuid

-- name: remove_summaries
DELETE FROM summaries WHERE webhook_id = %(webhook_id)s::uuid

-- name: note_attempts
-- The latest attempt of each; one that answers 410 wants no more messages.
UPDATE webhooks
SET last_at = now(), last_status = attempts.status, enabled = webhooks.enabled AND NOT attempts.gone
FROM unnest(%(webhook_id)s::uuid[], %(status)s::integer[], %(gone)s::boolean[]) AS attempts (webhook_id, status, gone)
WHERE webhooks.webhook_id = attempts.webhook_id
RETURNING webhooks.webhook_id::text
