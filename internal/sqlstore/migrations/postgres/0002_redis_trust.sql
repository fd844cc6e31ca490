-- +goose Up
-- Which Redis the replicas write revocations to and read them from. It is the state of running processes, no data: a backup
-- does not carry it.
CREATE TABLE redis_trust (
    one        integer PRIMARY KEY CHECK (one = 1),
    write_id   text NOT NULL, -- empty: none
    read_id    text NOT NULL, -- empty: none
    generation bigint NOT NULL,
    settled    integer NOT NULL CHECK (settled IN (0, 1))
);
INSERT INTO redis_trust (one, write_id, read_id, generation, settled) VALUES (1, '', '', 1, 1);

-- A cut-off is confirmed once it has been brought to Redis. What is there now needs it no more: the first set is yet to be
-- filled. The default is for programs that do not know the column; unconfirmed is always safe.
ALTER TABLE cut_offs ADD COLUMN confirmed integer NOT NULL DEFAULT 1 CHECK (confirmed IN (0, 1));
ALTER TABLE cut_offs ALTER COLUMN confirmed SET DEFAULT 0;
CREATE INDEX cut_offs_unconfirmed ON cut_offs (kind, id) WHERE confirmed = 0;
