-- +goose Up
-- By its token, a change differs from that with the same id in another history: that of a
-- backup which was restored.
ALTER TABLE changes ADD COLUMN token text NOT NULL DEFAULT '';
UPDATE changes SET token = left(replace(gen_random_uuid()::text, '-', ''), 16);

-- Codes that prove that an address is the user's, as hashes.
CREATE TABLE codes (
	login   text COLLATE "C" NOT NULL,
	address text COLLATE "C" NOT NULL,
	hash    bytea NOT NULL,
	expires bigint NOT NULL,
	tries   bigint NOT NULL,
	PRIMARY KEY (login, address),
	FOREIGN KEY (login, address) REFERENCES identities (login, address) ON DELETE CASCADE
);

-- +goose Down
DROP TABLE codes;
ALTER TABLE changes DROP COLUMN token;
