-- +goose Up
-- The tables and columns are those of PostgreSQL. One process owns this database, there is no Redis: nothing changes the
-- trust row, and every cut-off is confirmed.
CREATE TABLE redis_trust (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    write_id   TEXT NOT NULL,
    read_id    TEXT NOT NULL,
    generation INTEGER NOT NULL,
    settled    INTEGER NOT NULL CHECK (settled IN (0, 1))
) STRICT;
INSERT INTO redis_trust (one, write_id, read_id, generation, settled) VALUES (1, '', '', 1, 1);

ALTER TABLE cut_offs ADD COLUMN confirmed INTEGER NOT NULL DEFAULT 1 CHECK (confirmed IN (0, 1));
