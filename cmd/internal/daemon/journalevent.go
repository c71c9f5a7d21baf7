package daemon

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// messageID is the name of the journal's field that tells the kind of an entry. By it programs
// find all of a kind, whatever their words are, and journalctl -x the explanation in
// packaging/systemd/gatemilter.catalog.
const messageID = "MESSAGE_ID"

// The kinds of entries. An id never changes, nor does it get another meaning.
var (
	startedEvent         = event("4e67de5a52ea4b07b1004ca97795851d") // it serves the mail server
	doubtfulEvent        = event("f580d88fa7b54ab795fc35b19c582f8b") // a setting that is no error, but hardly meant so
	reloadedEvent        = event("828e95edd86143ba9e1039abe4af91bc") // a new configuration is in force
	restartNeededEvent   = event("c624d31e4e3a445f8e69632e894bf4d3") // settings changed that a reload does not reach
	configRefusedEvent   = event("9bbad42a17d9436fa2c4782dd50f0375") // a bad configuration, the old one stays
	stoppingEvent        = event("bbf4ca6f45cb4b48b80595439d70a34e") // told to stop
	failedEvent          = event("5aaa49597c63429cb2175a7e913eb632") // it has to stop by itself
	stoppedEvent         = event("d3114e4bb31e4139b817d2772f3a481b") // the last line
	messageEvent         = event("d104e5f00aba4dcd9564364644cd61ef") // the one line about a message
	messageErrorEvent    = event("6ccd7c8257924d189909e6f0422631db") // a message that was refused because something went wrong here
	hintEvent            = event("5bea5e3d7b9c42a3ab3fb18187d515ad") // what the administrator should look after
	connectionEvent      = event("79987b4576e643ac85303a9d2ceef858") // trouble with the mail server's connection
	lookupEvent          = event("e50c9bf0b51d4d8ebf70d9726524f5aa") // trouble with the mail server's question
	demandFailedEvent    = event("bbed6c38e28443b78d5aea2497c57c9f") // mail waits for a host that does not hold its route's demand
	loginWithheldEvent   = event("61a55fa3051c4a219bfae92725c4318b") // mail waits, as a login must not be shown
	loginMissingEvent    = event("dc6bd95f36474779832c6acbf6097a03") // mail waits, as a user's server offers no login
	noWayEvent           = event("5a6378793a1643a98bc2c6c0c9599d21") // mail waits, as Sendmail can't go its way
	loginFailsEvent      = event("0f3a8d7c5b0a4a2f9a4e6b1d8c7f2e35") // mail waits, as a user's server does not take the login
	linesDroppedEvent    = event("a5b9fda50d1945fbbc8c718e1bc7d9c6") // the log has a gap
	noJournalEvent       = event("5c83effdc9ac4c44be807dca0f7a4044") // the log goes to stderr instead
	unansweredEvent      = event("5be4acbdb1ba4cf8b0620c257d622c90") // the watchdog found that a socket does not answer
	portalEvent          = event("92a197ea5c2d4452be972ffd3cd3c08f") // what a user does in the portal
	portalTroubleEvent   = event("484d144a5acb406ebdd7b5ccd6a62a17") // trouble with the portal
	adminEvent           = event("60c8610bb568498e8561737707115169") // trouble with a reader of the admin pages
	changedEvent         = event("ccb1025d01364790881578f3d8e529d3") // a setting that a reload has changed
	needsSetupEvent      = event("dbd10466b5dc495ba7b3abe3cdc0f2dc") // Postfix has to be told of a change
	needsSendmailEvent   = event("a59a7e2c42bb4af5a0a2b3fa9e8a9d21") // Sendmail has to be told of a change
	identityEvent        = event("4edf2ec7b8cb4a70ac5e98e88cd994b8") // somebody has changed an identity of the database
	identitiesEvent      = event("ccc39fe5fd6043a6a987b7fee3da3970") // all identities of the database were loaded
	databaseDownEvent    = event("74bf29bf47c34e8e95cf2dfe10f87294") // the database of identities is away
	databaseBackEvent    = event("e7ff5ae3bfc04137aaf8a877c15a9a28") // and is there again
	leftOutEvent         = event("bf536f750aa14baf9bf7f1a234fcc0b0") // an identity of the database can't be used
	passwordEvent        = event("1a8862c9dbbf49a9bf6e079d9b7d43e9") // a password in the database can't be decrypted
	passwordUnknownEvent = event("5cf64fce021e4767a68ecc43e7a5fe3e") // mail waits for it
	snapshotEvent        = event("0d032bb15f0b4789a9e06426251efad7") // the copy of the database can't be read or written
	untoldEvent          = event("58b60a3355404c03aa38351eba0b93ce") // systemd could not be told something
)

// event makes a field of an id. Only the journal is told it: other encoders skip it, as
// people read the words.
func event(id string) zap.Field {
	return zap.Field{Key: messageID, Type: zapcore.SkipType, String: id}
}

// eventOf finds the id among the fields of an entry, or returns "".
func eventOf(fields []zap.Field) string {
	for i := range fields {
		if fields[i].Type == zapcore.SkipType && fields[i].Key == messageID {
			return fields[i].String
		}
	}
	return ""
}
