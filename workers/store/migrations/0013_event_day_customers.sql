-- How many customers sent an event on a day, so that the names an account sends are listed without reading all returns.
ALTER TABLE event_days ADD COLUMN customers integer NOT NULL DEFAULT 0;
ALTER TABLE event_days ADD COLUMN counted bigint NOT NULL DEFAULT 0;
