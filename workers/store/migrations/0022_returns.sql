-- no transaction
DROP INDEX CONCURRENTLY IF EXISTS event_returns_day;
CREATE INDEX CONCURRENTLY event_returns_day ON event_returns (account_id, day, previous) INCLUDE (event, customers);
DROP INDEX CONCURRENTLY IF EXISTS event_returns_previous;
