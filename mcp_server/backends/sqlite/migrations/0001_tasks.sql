-- Tasks, their logs and who works on them.
--
-- `tasks` is rewritten with every progress report, so it holds what queries need plus the
-- small `snapshot`; what may be large or never changes has a table of its own. The indexes
-- on live, queued and expiring tasks are partial: a million finished tasks do not slow them.

CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- age, and the cursor of a listing
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    type TEXT NOT NULL,
    idempotency_key TEXT, -- null too once its time is over and another task took the key
    priority INTEGER NOT NULL,
    status TEXT NOT NULL,
    not_before REAL NOT NULL,
    last_event_id INTEGER NOT NULL,
    expires_at REAL,
    snapshot BLOB NOT NULL
);

CREATE INDEX tasks_by_owner ON tasks (owner, seq);
CREATE INDEX tasks_by_status ON tasks (owner, status, seq);
CREATE INDEX tasks_by_type ON tasks (owner, type, seq);
CREATE INDEX tasks_by_status_and_type ON tasks (owner, status, type, seq);
CREATE UNIQUE INDEX tasks_by_key ON tasks (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_queued ON tasks (priority DESC, seq, not_before, type, owner) WHERE status = 'queued';
CREATE INDEX tasks_delayed ON tasks (not_before) WHERE status = 'queued' AND not_before > 0;
CREATE INDEX tasks_running ON tasks (priority DESC, seq, type, owner) WHERE status IN ('running', 'input_required');
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE fixed (task INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE states (task INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE outputs (task INTEGER PRIMARY KEY, value BLOB NOT NULL);

CREATE VIEW whole_tasks AS
SELECT
    tasks.seq, tasks.id, tasks.owner, tasks.type, tasks.status,
    fixed.value AS fixed, tasks.snapshot, states.value AS state, outputs.value AS output
FROM tasks
JOIN fixed ON fixed.task = tasks.seq
LEFT JOIN states ON states.task = tasks.seq
LEFT JOIN outputs ON outputs.task = tasks.seq;

CREATE TABLE events (
    task INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    attempt INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (task, number)
) WITHOUT ROWID;

CREATE TABLE leases (
    task INTEGER PRIMARY KEY,
    holder TEXT NOT NULL,
    expires_at REAL NOT NULL,
    type TEXT NOT NULL,
    owner TEXT NOT NULL
);

-- Counted as they change: counting a million rows takes longer than a health probe should.
CREATE TABLE counts (status TEXT PRIMARY KEY, tasks INTEGER NOT NULL) WITHOUT ROWID;

CREATE TRIGGER count_created AFTER INSERT ON tasks BEGIN
    INSERT INTO counts VALUES (NEW.status, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;

CREATE TRIGGER count_changed AFTER UPDATE OF status ON tasks WHEN OLD.status <> NEW.status BEGIN
    UPDATE counts SET tasks = tasks - 1 WHERE status = OLD.status;
    INSERT INTO counts VALUES (NEW.status, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;

CREATE TRIGGER count_deleted AFTER DELETE ON tasks BEGIN
    UPDATE counts SET tasks = tasks - 1 WHERE status = OLD.status;
END;
