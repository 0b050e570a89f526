-- An account's own templates of drafts.

-- name: list_templates
SELECT strategy, subject, body_text FROM draft_templates WHERE account_id = %(account_id)s ORDER BY strategy

-- name: save_template
INSERT INTO draft_templates (account_id, strategy, subject, body_text)
VALUES (%(account_id)s, %(strategy)s, %(subject)s, %(body_text)s)
ON CONFLICT (account_id, strategy) DO UPDATE
SET subject = excluded.subject, body_text = excluded.body_text, changed_at = excluded.changed_at
RETURNING strategy

-- name: drop_template
DELETE FROM draft_templates WHERE account_id = %(account_id)s AND strategy = %(strategy)s RETURNING strategy

-- name: advised_customers
-- Some customers with this strategy as their advice, the riskiest first.
SELECT customer_id, account_id, email, advice, -probability AS order FROM customers
WHERE account_id = %(account_id)s AND advice ->> 'strategy' = %(strategy)s
ORDER BY probability DESC, customer_id
LIMIT %(limit)s
