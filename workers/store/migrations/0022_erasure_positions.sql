-- The ends of the buffer's lanes when a customer was erased: what stood there up to them is covered.
ALTER TABLE erasures ADD COLUMN live_position bigint, ADD COLUMN history_position bigint;

CREATE INDEX erasures_live_position ON erasures (live_position);
CREATE INDEX erasures_history_position ON erasures (history_position);
