-- +goose Up
CREATE TABLE identities (
	login    TEXT NOT NULL,
	address  TEXT NOT NULL,
	account  TEXT NOT NULL,
	name     TEXT NOT NULL,
	state    TEXT NOT NULL CHECK (state IN ('pending', 'active')),
	disabled INTEGER NOT NULL CHECK (disabled IN (0, 1)),
	-- Without a server of the user's own, host is ''.
	host     TEXT NOT NULL,
	port     INTEGER NOT NULL,
	tls      TEXT NOT NULL CHECK (tls IN ('', 'starttls', 'implicit')),
	username TEXT NOT NULL,
	password BLOB NOT NULL,
	slot     INTEGER NOT NULL,
	created  INTEGER NOT NULL,
	changed  INTEGER NOT NULL,
	PRIMARY KEY (login, address)
) STRICT, WITHOUT ROWID;

CREATE INDEX identities_address ON identities (address);

-- What happened, in the order of id, without gaps: for the log, and for those who follow.
CREATE TABLE changes (
	id      INTEGER PRIMARY KEY,
	at      INTEGER NOT NULL,
	by      TEXT NOT NULL,
	action  TEXT NOT NULL,
	login   TEXT NOT NULL,
	address TEXT NOT NULL,
	detail  TEXT NOT NULL
) STRICT;

CREATE INDEX changes_at ON changes (at);
CREATE INDEX changes_login ON changes (login, address, id);

-- The id of the last change, also when its row is gone.
CREATE TABLE feed (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	last INTEGER NOT NULL
) STRICT;

INSERT INTO feed (one, last) VALUES (1, 0);

-- +goose Down
DROP TABLE feed;
DROP TABLE changes;
DROP TABLE identities;
