-- Folds delete from the sums, which have no key: the server refuses that where a publication has all tables. So the whole row
-- names it to whoever follows.
ALTER TABLE {table}_totals REPLICA IDENTITY FULL;
