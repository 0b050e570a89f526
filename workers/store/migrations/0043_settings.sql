-- The settings (levels, horizon) that an account's scores were computed with: others make all scores out of date.

ALTER TABLE accounts ADD COLUMN scored_with text;
