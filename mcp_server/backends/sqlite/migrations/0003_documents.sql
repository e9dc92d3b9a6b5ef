-- Small documents beside the tasks, such as keys of callers.

CREATE TABLE documents (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
