-- Of customers with many daily counts, what a score reads of earlier days, packed: thousands of rows are not read anew
-- each time.
CREATE TABLE earlier_days (
    customer_id uuid PRIMARY KEY,
    until date NOT NULL,
    oldest date NOT NULL,
    scope bytea NOT NULL,
    rows bytea NOT NULL,
    words text NOT NULL
);

-- Citus refuses it for a table that it has placed, where the rows are compressed then.
DO $$ BEGIN
    ALTER TABLE earlier_days ALTER COLUMN rows SET STORAGE EXTERNAL;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;
