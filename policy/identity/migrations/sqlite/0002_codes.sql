-- +goose Up
-- By its token, a change differs from that with the same id in another history: that of a
-- backup which was restored.
ALTER TABLE changes ADD COLUMN token TEXT NOT NULL DEFAULT '';
UPDATE changes SET token = lower(hex(randomblob(8)));

-- Codes that prove that an address is the user's, as hashes.
CREATE TABLE codes (
	login   TEXT NOT NULL,
	address TEXT NOT NULL,
	hash    BLOB NOT NULL,
	expires INTEGER NOT NULL,
	tries   INTEGER NOT NULL,
	PRIMARY KEY (login, address),
	FOREIGN KEY (login, address) REFERENCES identities (login, address) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE codes;
ALTER TABLE changes DROP COLUMN token;
