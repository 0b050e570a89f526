-- The revenue of customers, and the part of it at risk: by currency, never converted.

-- name: money_by_level
SELECT coalesce(currency, '') AS currency, standing(state, level) AS level, count(*) AS customers,
       sum(mrr)::bigint AS mrr, sum(mrr_at_risk) AS at_risk
FROM customers
WHERE account_id = %(account_id)s AND mrr > 0 AND level IS NOT NULL
GROUP BY 1, 2

-- name: list_companies
-- The companies with the most money at risk first; one row for each of its currencies. The revenue of lapsed customers is
-- gone, not at risk.
SELECT company, coalesce(currency, '') AS currency, count(*) AS customers, coalesce(sum(mrr), 0)::bigint AS mrr,
       coalesce(sum(mrr_at_risk) FILTER (WHERE state <> 'lapsed'), 0) AS at_risk, max(probability) FILTER (WHERE state <> 'lapsed') AS highest,
       max(probability) AS riskiest, max(last_active) AS last_active
FROM customers
WHERE account_id = %(account_id)s AND company IS NOT NULL
  AND (%(names)s::text[] IS NULL OR company = ANY (%(names)s))
  AND (%(part)s::text IS NULL OR company ILIKE %(part)s)
GROUP BY company, 2
ORDER BY at_risk DESC, max(probability) DESC, company
LIMIT %(limit)s

-- name: show_company
SELECT coalesce(currency, '') AS currency, count(*) AS customers, coalesce(sum(mrr), 0)::bigint AS mrr,
       coalesce(sum(mrr_at_risk) FILTER (WHERE state <> 'lapsed'), 0) AS at_risk
FROM customers
WHERE account_id = %(account_id)s AND company = %(company)s
GROUP BY 1
ORDER BY 4 DESC, 1

-- name: most_active_person
-- The customer of a company who was active on most days of the year before the last such day.
SELECT email, state, last_active, count(DISTINCT day) AS days
FROM customers JOIN customer_days AS days USING (customer_id)
WHERE account_id = %(account_id)s AND company = %(company)s AND days.event = ANY (%(events)s::text[])
  AND day > current_date - 365
GROUP BY customer_id
ORDER BY days DESC, email
LIMIT 1
