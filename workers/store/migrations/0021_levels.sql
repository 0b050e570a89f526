-- no transaction
DROP INDEX CONCURRENTLY IF EXISTS customers_level;
CREATE INDEX CONCURRENTLY customers_level ON customers (account_id, level, probability, customer_id);
