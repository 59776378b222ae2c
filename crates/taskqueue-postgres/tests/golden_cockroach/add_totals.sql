INSERT INTO tasks_totals (type, status, tasks, busy_us) SELECT * FROM unnest($1::text[], $2::int2[], $3::int8[], $4::int8[])
