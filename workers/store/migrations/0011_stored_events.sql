-- no transaction
DROP INDEX CONCURRENTLY IF EXISTS events_stored;
CREATE INDEX CONCURRENTLY events_stored ON events USING brin (stored_by) WITH (autosummarize = on);
