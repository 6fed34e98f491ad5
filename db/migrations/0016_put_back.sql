-- When a repair or a redrive put the log back; null where it waits since it was stored. Without it a log of last year
-- that was repaired a second ago would look like one that has waited for a year.
alter table pending_index add column put_back_at timestamptz;
