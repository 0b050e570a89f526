-- The system identifier of the server that numbered the transactions of a snapshot: a cell may move to another one.
ALTER TABLE tallied ADD COLUMN server bigint;
ALTER TABLE recounts ADD COLUMN server bigint;
