-- A tally that ends meanwhile has raised n, which is not what was counted here.
UPDATE event_days AS kept
SET customers = theirs.customers, counted = theirs.n
FROM (
    SELECT account_id, event, day, n, sum(returns.customers) AS customers
    FROM event_days JOIN event_returns AS returns USING (account_id, event, day)
    GROUP BY account_id, event, day, n
) AS theirs
WHERE kept.account_id = theirs.account_id AND kept.event = theirs.event AND kept.day = theirs.day;
