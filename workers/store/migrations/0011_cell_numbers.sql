-- Which of how many cells these tables are; null at home.
ALTER TABLE installation ADD COLUMN number integer, ADD COLUMN cells integer;
