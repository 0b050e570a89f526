-- no transaction
DROP INDEX CONCURRENTLY IF EXISTS customers_ranked;
CREATE INDEX CONCURRENTLY customers_ranked ON customers (account_id, probability, customer_id) INCLUDE (level, state);
DROP INDEX CONCURRENTLY IF EXISTS customers_risk;
