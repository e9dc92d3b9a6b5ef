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

-- A process of an older program, which may go on with the file for a while, knows statuses only.
CREATE TRIGGER claimable_created AFTER INSERT ON tasks WHEN NEW.status = 'queued' AND NEW.claimable = 'never' BEGIN
    UPDATE tasks SET claimable = 'when_due' WHERE seq = NEW.seq;
END;

CREATE TRIGGER claimable_changed AFTER UPDATE OF status ON tasks
WHEN NEW.status <> OLD.status AND NEW.claimable = OLD.claimable AND NEW.claimable <> 'never' BEGIN
    UPDATE tasks SET claimable = CASE
        WHEN NEW.status = 'queued' THEN 'when_due'
        WHEN NEW.status IN ('running', 'input_required') THEN 'when_abandoned'
        ELSE 'never'
    END WHERE seq = NEW.seq;
END;
