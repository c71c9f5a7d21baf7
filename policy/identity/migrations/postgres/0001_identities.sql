-- +goose Up
CREATE TABLE identities (
	login    text COLLATE "C" NOT NULL,
	address  text COLLATE "C" NOT NULL,
	account  text NOT NULL,
	name     text NOT NULL,
	state    text NOT NULL CHECK (state IN ('pending', 'active')),
	disabled boolean NOT NULL,
	-- Without a server of the user's own, host is ''.
	host     text NOT NULL,
	port     bigint NOT NULL,
	tls      text NOT NULL CHECK (tls IN ('', 'starttls', 'implicit')),
	username text NOT NULL,
	password bytea NOT NULL,
	slot     bigint NOT NULL,
	created  bigint NOT NULL,
	changed  bigint NOT NULL,
	PRIMARY KEY (login, address)
);

CREATE INDEX identities_address ON identities (address);

-- What happened, in the order of id, without gaps: for the log, and for those who follow.
CREATE TABLE changes (
	id      bigint PRIMARY KEY,
	at      bigint NOT NULL,
	by      text NOT NULL,
	action  text NOT NULL,
	login   text COLLATE "C" NOT NULL,
	address text COLLATE "C" NOT NULL,
	detail  text NOT NULL
);

CREATE INDEX changes_at ON changes (at);
CREATE INDEX changes_login ON changes (login, address, id);

-- The id of the last change, also when its row is gone.
CREATE TABLE feed (
	one  integer PRIMARY KEY CHECK (one = 1),
	last bigint NOT NULL
);

INSERT INTO feed (one, last) VALUES (1, 0);

-- +goose Down
DROP TABLE feed;
DROP TABLE changes;
DROP TABLE identities;
