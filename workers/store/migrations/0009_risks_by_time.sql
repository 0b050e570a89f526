-- Lists of everybody's risk of then: which rows of risk_history are of a day, and the rebuilt risks of a Monday.
CREATE INDEX risk_history_at ON risk_history USING brin (at) WITH (pages_per_range = 64, autosummarize = on);
CREATE INDEX risk_rebuilt_at ON risk_rebuilt (at, customer_id) INCLUDE (probability, level, state, model);
