package daemon

import (
	"errors"
	"io"
	"os"
	"time"

	"go.uber.org/zap"
	sys "golang.org/x/sys/unix"

	"gatemilter/cmd/internal/portal"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// The lines about the database of identities.

// AuditIdentities returns what logs changes of identities that a command makes, as the daemon logs
// its own: to the journal, or to stderr where there is none. Who sits at a terminal reads there what
// the command says of them, and needs no lines of a log in between: the database's history has them.
// Done has to be called at the end.
func AuditIdentities(stderr io.Writer) (report func(identity.Change), done func()) {
	c := config.Log{Target: "stderr", Format: "console", Level: "info"}
	if j, err := dialJournal(journalPath); err == nil {
		j.conn.Close()
		c.Target = "journal"
	} else if isTerminal(stderr) {
		return func(identity.Change) {}, func() {}
	}
	l := newEventLog(c, stderr)
	return l.identityChanged, l.Sync
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := sys.IoctlGetWinsize(int(f.Fd()), sys.TIOCGWINSZ)
	return err == nil
}

// identityChanged is the audit of one change, by whomever (U6).
func (l *eventLog) identityChanged(c identity.Change) {
	l.zap.Info("identity "+string(c.Action), identityEvent, zap.String("by", short(c.By)), zap.String("action", string(c.Action)),
		zap.String("login", short(c.Login)), zap.String("address", short(c.Address)), zap.String("detail", short(c.Detail)), zap.Int64("change", c.ID))
}

// identitiesLoaded says what is in the database, or in its copy. Of rows that can't be used, not all
// may have been logged.
func (l *eventLog) identitiesLoaded(users int, n identityCounts, bad int) {
	fields := []zap.Field{identitiesEvent, zap.Int("logins", users), zap.Int("active", n.active), zap.Int("pending", n.pending), zap.Int("disabled", n.disabled)}
	if bad > 0 {
		fields = append(fields, zap.Int("bad", bad))
	}
	l.zap.Info("identities loaded", fields...)
}

// databaseDown says that changes are not seen, and what that means for mail.
func (l *eventLog) databaseDown(err error, known bool) {
	if known {
		l.zap.Error("the database of identities can't be used; what it had before stays in force", databaseDownEvent, zap.String("error", short(err.Error())))
		return
	}
	l.zap.Error("the database of identities can't be used and there is no copy of it, so mail of users that the configuration does not name waits", databaseDownEvent, zap.String("error", short(err.Error())))
}

func (l *eventLog) databaseBack(away time.Duration) {
	l.zap.Info("the database of identities can be used again", databaseBackEvent, zap.Duration("away", away.Round(time.Millisecond)))
}

// leftOut says that a user can't write as an address of his, because of another one.
func (l *eventLog) leftOut(o leftOut) {
	l.zap.Warn("an identity is left out", leftOutEvent, zap.String("login", short(o.login)), zap.String("address", short(o.address)), zap.String("reason", short(o.why)))
}

func (l *eventLog) moreLeftOut(n int) {
	l.zap.Warn("more identities are left out", leftOutEvent, zap.Int("not_shown", n))
}

// badIdentity is about a row of the database that no gatemilter has written like that, or whose key
// is gone.
func (l *eventLog) badIdentity(row *identity.RowError) {
	fields := []zap.Field{leftOutEvent, zap.String("login", short(row.Login)), zap.String("address", short(row.Address)), zap.String("reason", short(row.Err.Error()))}
	if errors.Is(row, identity.ErrPassword) {
		fields[0] = passwordEvent
		l.zap.Error("the password of a user's server can't be decrypted: mail for it waits", fields...)
		return
	}
	l.zap.Error("an identity is left out: the database has something in it that can't be", fields...)
}

// identityKeysMissing says that no password in the database can be decrypted.
func (l *eventLog) identityKeysMissing(err error) {
	l.zap.Error("there are no keys for the passwords in the database: mail for users' servers in it waits, and none can be added; correct that", passwordEvent, zap.String("error", short(err.Error())))
}

// snapshotTrouble is about the copy of the database.
func (l *eventLog) snapshotTrouble(err error) {
	l.zap.Error("the copy of the database of identities can't be used", snapshotEvent, zap.String("error", short(err.Error())))
}

// portalEvent says what a user has done in the portal, or tried to.
func (l *eventLog) portalEvent(e portal.Event) {
	fields := []zap.Field{portalEvent, zap.String("result", short(e.Result)), zap.String("client_ip", short(e.Client))}
	for _, f := range []struct{ key, value string }{{"login", e.Login}, {"address", e.Address}, {"server", e.Server}, {"reason", e.Reason}} {
		if f.value != "" {
			fields = append(fields, zap.String(f.key, short(f.value)))
		}
	}
	log := l.zap.Info
	if e.Kind == portal.Limited || e.Kind == portal.Refused {
		log = l.zap.Warn
	}
	log("portal: "+string(e.Kind), append(fields, zap.String("kind", string(e.Kind)))...)
}

// portalClosed says that users can't reach the portal, while mail goes on.
func (l *eventLog) portalClosed(err error) {
	l.zap.Error("the portal can't be served, all else is: correct that and restart gatemilter", portalTroubleEvent, zap.String("error", short(err.Error())))
}
