-- The condition under which a task may be claimed, as its own column: the statements need no status for it.

ALTER TABLE tasks ADD COLUMN claimable TEXT NOT NULL DEFAULT 'never';

UPDATE tasks SET claimable = 'when_due' WHERE status = 'queued';
UPDATE tasks SET claimable = 'when_abandoned' WHERE status IN ('running', 'input_required');

DROP INDEX tasks_queued;
DROP INDEX tasks_delayed;
DROP INDEX tasks_running;

CREATE INDEX tasks_due ON tasks (priority DESC, seq, not_before, type, owner) WHERE claimable = 'when_due';
CREATE INDEX tasks_delayed ON tasks (not_before) WHERE claimable = 'when_due' AND not_before > 0;
CREATE INDEX tasks_abandonable ON tasks (priority DESC, seq, type, owner) WHERE claimable = 'when_abandoned';
