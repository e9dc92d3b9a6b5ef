-- Every statement the SQLite backend runs, by name; `statements.py` has a field for each.

-- name: insert_task
INSERT INTO tasks (id, owner, type, idempotency_key, priority, status, claimable, not_before, last_event_id,
    expires_at, snapshot)
VALUES (:id, :owner, :type, :idempotency_key, :priority, :status, :claimable, :not_before, :last_event_id,
    :expires_at, :snapshot)
ON CONFLICT (id) DO NOTHING

-- name: insert_fixed
INSERT INTO fixed VALUES (?, ?)

-- name: put_state
INSERT INTO states VALUES (?, ?) ON CONFLICT (task) DO UPDATE SET value = excluded.value

-- name: put_output
INSERT INTO outputs VALUES (?, ?) ON CONFLICT (task) DO UPDATE SET value = excluded.value

-- name: insert_event
INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)

-- name: find_key
SELECT seq, expires_at FROM tasks WHERE owner = :owner AND idempotency_key = :idempotency_key

-- name: free_key
UPDATE tasks SET idempotency_key = NULL WHERE seq = ?

-- name: update_task
UPDATE tasks
SET status = :status, claimable = :claimable, not_before = :not_before, last_event_id = :last_event_id,
    expires_at = :expires_at, snapshot = :snapshot
WHERE id = :id AND last_event_id = :expected
RETURNING seq

-- name: trim_events
DELETE FROM events WHERE task = ? AND number < ?

-- name: load_task
SELECT fixed, snapshot, state, output FROM whole_tasks WHERE id = ?

-- name: load_seq
SELECT fixed, snapshot, state, output FROM whole_tasks WHERE seq = ?

-- name: read_events
SELECT number, kind, at, attempt, data
FROM events
WHERE task = (SELECT seq FROM tasks WHERE id = ?) AND number > ?
ORDER BY number
LIMIT ?

-- name: list_all
SELECT seq, fixed, snapshot, state, output FROM whole_tasks
WHERE owner = :owner AND seq < :before
ORDER BY seq DESC LIMIT :limit

-- name: list_status
SELECT seq, fixed, snapshot, state, output FROM whole_tasks
WHERE owner = :owner AND status = :status AND seq < :before
ORDER BY seq DESC LIMIT :limit

-- name: list_type
SELECT seq, fixed, snapshot, state, output FROM whole_tasks
WHERE owner = :owner AND type = :type AND seq < :before
ORDER BY seq DESC LIMIT :limit

-- name: list_status_and_type
SELECT seq, fixed, snapshot, state, output FROM whole_tasks
WHERE owner = :owner AND status = :status AND type = :type AND seq < :before
ORDER BY seq DESC LIMIT :limit

-- name: queue_position
SELECT iif(own.not_before <= :now,
    min(:most, (
        SELECT count(*) FROM (
            SELECT 1 FROM tasks AS ahead
            WHERE ahead.claimable = 'when_due' AND ahead.not_before <= :now AND ahead.priority > own.priority
            LIMIT :most
        )
    ) + (
        SELECT count(*) FROM (
            SELECT 1 FROM tasks AS ahead
            WHERE ahead.claimable = 'when_due' AND ahead.not_before <= :now
                AND ahead.priority = own.priority AND ahead.seq < own.seq
            LIMIT :most
        )
    )),
    (
        SELECT count(*) FROM (
            SELECT 1 FROM tasks AS ahead
            WHERE ahead.claimable = 'when_due' AND ahead.not_before < own.not_before
            LIMIT :most
        )
    )
)
FROM tasks AS own
WHERE own.id = :id AND own.claimable = 'when_due'

-- name: counts
SELECT status, tasks FROM counts

-- name: fleet_counts
SELECT count(*) FROM tasks WHERE claimable = 'when_due' AND not_before > 0 AND not_before > :now
UNION ALL
SELECT count(*) FROM leases WHERE expires_at > :now

-- name: first_in_line
SELECT fixed, snapshot, state, output FROM whole_tasks
WHERE seq IN (
    SELECT (
        SELECT seq FROM tasks
        WHERE claimable = 'when_due' AND priority = json_each.value AND not_before <= :now
        ORDER BY seq LIMIT 1
    )
    FROM json_each('[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]')
)

-- name: stalled_tasks
SELECT id FROM tasks
WHERE claimable = 'when_abandoned'
    AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.task = tasks.seq AND leases.expires_at > :now)
ORDER BY priority DESC, seq LIMIT 100

-- name: last_numbers
SELECT id, last_event_id FROM tasks WHERE id IN (SELECT value FROM json_each(?))

-- name: data_version
PRAGMA data_version

-- name: leased_types
SELECT type, count(*) FROM leases WHERE expires_at > ? GROUP BY type

-- name: leased_owners
SELECT owner, count(*) FROM leases WHERE expires_at > ? GROUP BY owner

-- name: due_tasks
SELECT * FROM (
    SELECT seq, id, type, owner, priority FROM tasks
    WHERE claimable = 'when_due' AND not_before <= :now
        AND type IN (SELECT value FROM json_each(:types))
        AND owner NOT IN (SELECT value FROM json_each(:full_owners))
        AND NOT EXISTS (
            SELECT 1 FROM leases
            WHERE leases.task = tasks.seq AND (leases.expires_at > :now OR leases.holder = :holder)
        )
    ORDER BY priority DESC, seq LIMIT :limit
)
UNION ALL
SELECT * FROM (
    SELECT seq, id, type, owner, priority FROM tasks
    WHERE claimable = 'when_abandoned'
        AND type IN (SELECT value FROM json_each(:types))
        AND owner NOT IN (SELECT value FROM json_each(:full_owners))
        AND NOT EXISTS (
            SELECT 1 FROM leases
            WHERE leases.task = tasks.seq AND (leases.expires_at > :now OR leases.holder = :holder)
        )
    ORDER BY priority DESC, seq LIMIT :limit
)
ORDER BY priority DESC, seq LIMIT :limit

-- name: next_due
SELECT min(at) FROM (
    SELECT min(not_before) AS at FROM tasks WHERE claimable = 'when_due' AND not_before > 0 AND not_before > :now
    UNION ALL
    SELECT min(expires_at) AS at FROM leases WHERE expires_at > :now AND holder <> :holder
)

-- name: put_lease
INSERT INTO leases (task, holder, expires_at, type, owner) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (task) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at

-- name: renew_leases
UPDATE leases SET expires_at = ? WHERE holder = ? RETURNING task

-- name: delete_lease
DELETE FROM leases WHERE task = ? AND holder = ?

-- name: delete_leases
DELETE FROM leases WHERE holder = ?

-- name: expired_tasks
SELECT seq, id, last_event_id FROM tasks
WHERE expires_at IS NOT NULL AND expires_at <= ?
ORDER BY expires_at LIMIT ?

-- name: purge_events
DELETE FROM events WHERE task = ?

-- name: purge_lease
DELETE FROM leases WHERE task = ?

-- name: purge_output
DELETE FROM outputs WHERE task = ?

-- name: purge_state
DELETE FROM states WHERE task = ?

-- name: purge_fixed
DELETE FROM fixed WHERE task = ?

-- name: purge_task
DELETE FROM tasks WHERE seq = ?

-- name: put_document
INSERT INTO documents VALUES (:kind, :id, :value)
ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value

-- name: replace_document
UPDATE documents SET value = :value WHERE kind = :kind AND id = :id

-- name: get_document
SELECT value FROM documents WHERE kind = ? AND id = ?

-- name: delete_document
DELETE FROM documents WHERE kind = ? AND id = ?

-- name: list_documents
SELECT id, value FROM documents WHERE kind = ? AND id > ? ORDER BY id LIMIT ?
