SELECT id, (extract(epoch FROM now()) * 1000)::bigint FROM tasks WHERE shard = $2 AND id >= $1 AND dead_at IS NOT NULL ORDER BY id LIMIT 1 OFFSET 4999
