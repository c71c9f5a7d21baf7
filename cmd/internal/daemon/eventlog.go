package daemon

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"gatemilter/milter"
	"gatemilter/milter/accept"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

// An eventLog has one method for each kind of event, so that wording, fields and
// what is left out are decided in one place. Texts that come from a peer are
// fields, which the encoder escapes, and never part of the line itself.
type eventLog struct{ zap *zap.Logger }

func newEventLog(c config.Log, w io.Writer) *eventLog {
	// The configuration has checked the level.
	level, _ := zapcore.ParseLevel(c.Level)
	to, e, err := output(c, w)
	queue := newLogQueue(to, func(dropped uint64) []byte { return lossLine(e, dropped) })
	l := &eventLog{zap.New(zapcore.NewCore(e, queue, level))}
	if err != nil {
		l.noJournal(err)
	}
	return l
}

// output is where the log goes, and in which form. Without the journal that is wanted it is
// stderr, and the error says why: mail doesn't wait for a log.
func output(c config.Log, stderr io.Writer) (io.Writer, zapcore.Encoder, error) {
	if c.Target == "journal" || c.Target == "" && leadsToJournal(stderr) {
		j, err := dialJournal(journalPath)
		if err == nil {
			return j, newJournalEncoder(), nil
		}
		return stderr, encoder(c.Format), err
	}
	return stderr, encoder(c.Format), nil
}

// lossLine is the line about lines that are missing. Like all others it is for
// programs too, and it is an error, which every level shows. It doesn't go through the
// queue, which may be full again.
func lossLine(e zapcore.Encoder, dropped uint64) []byte {
	entry := zapcore.Entry{Level: zap.ErrorLevel, Time: time.Now(), Message: "log lines were dropped, because nobody took them"}
	line, err := e.EncodeEntry(entry, []zap.Field{linesDroppedEvent, zap.Uint64("dropped", dropped)})
	if err != nil {
		return nil // no encoder of ours fails on a number
	}
	defer line.Free()
	return bytes.Clone(line.Bytes())
}

// encoder of one line for each event; no event is ever left out by sampling.
func encoder(format string) zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.RFC3339TimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	if format == "json" {
		c.TimeKey, c.MessageKey = "time", "message"
		return zapcore.NewJSONEncoder(c)
	}
	c.ConsoleSeparator = " "
	return zapcore.NewConsoleEncoder(c)
}

func (l *eventLog) Sync() { l.zap.Sync() }

func (l *eventLog) started(c *config.Config, services []service) {
	fields := []zap.Field{startedEvent}
	for _, s := range services {
		var at []string
		for _, listener := range s.listeners {
			at = append(at, describe(listener.Addr()))
		}
		fields = append(fields, zap.Strings(s.name, at))
	}
	fields = append(fields, zap.Stringer("mode", c.Settings.Mode), zap.Int("gateways", len(c.Settings.Gateways)), zap.Int("routes", len(c.Settings.Outbound.Routes)), zap.Int("users", len(c.Settings.Outbound.Users)))
	l.zap.Info("started", fields...)
	l.warnings(c)
}

func (l *eventLog) warnings(c *config.Config) {
	for _, w := range c.Warnings {
		l.zap.Warn("configuration is doubtful", doubtfulEvent, zap.Stringer("problem", w))
	}
}

func (l *eventLog) stopping(cause error) {
	if cause != nil {
		l.zap.Error("stopping", failedEvent, zap.Error(cause))
		return
	}
	l.zap.Info("stopping: messages in progress finish first", stoppingEvent)
}

func (l *eventLog) stopped() { l.zap.Info("stopped", stoppedEvent) }

// notAsked says that a reload needs a socket that is opened only at the start.
func (l *eventLog) notAsked() {
	l.zap.Warn("the lookup socket is not open yet: routes, users' own servers and the like work after a restart, and until then mail that has to ask waits", restartNeededEvent)
}

// reloaded also says what of the configuration is not in force yet.
func (l *eventLog) reloaded(c *config.Config, restart []string) {
	l.zap.Info("configuration reloaded", reloadedEvent, zap.Stringer("mode", c.Settings.Mode), zap.Int("gateways", len(c.Settings.Gateways)), zap.Int("routes", len(c.Settings.Outbound.Routes)), zap.Int("users", len(c.Settings.Outbound.Users)))
	if len(restart) > 0 {
		l.zap.Warn("what has changed of "+strings.Join(restart, ", ")+" takes effect at the next restart", restartNeededEvent)
	}
	l.warnings(c)
}

// needsSetup says that Postfix has to be told of a change too: until then, mail may take
// the way from before it, or the default one.
func (l *eventLog) needsSetup() {
	l.zap.Warn("Postfix needs other settings now: run gatemilter mta-setup postfix --apply, and postfix reload", needsSetupEvent)
}

// needsSendmailSetup is needsSetup for Sendmail, where mail waits whose way it doesn't know.
func (l *eventLog) needsSendmailSetup() {
	l.zap.Warn("Sendmail needs other settings now: run gatemilter mta-setup sendmail --apply, and sendmailconfig", needsSendmailEvent)
}

func (l *eventLog) reloadRefused(err error) {
	var problems config.Errors
	if !errors.As(err, &problems) {
		l.zap.Error("configuration refused, the old one stays in force", configRefusedEvent, zap.Error(err))
		return
	}
	for _, p := range problems {
		l.zap.Error("configuration refused, the old one stays in force", configRefusedEvent, zap.Stringer("problem", p))
	}
}

// lookupTrouble is something that went wrong with a question of the mail server.
func (l *eventLog) lookupTrouble(remote string, err error) {
	l.connection("lookup", lookupEvent, remote, err)
}

// demandFailed says that mail waits, because a host can't be reached or does not hold
// what its route demands (R9).
func (l *eventLog) demandFailed(route, nexthop string, err error) {
	l.zap.Error("mail is held back: the host does not hold what the route demands", demandFailedEvent, zap.String("route", route), zap.String("nexthop", nexthop), zap.String("error", short(err.Error())))
}

// noLogin says that mail waits, because a user's own server is not seen to offer a login,
// and it must not leave without.
func (l *eventLog) noLogin(nexthop string, err error) {
	l.zap.Error("mail is held back: the user's server is not seen to offer a login", loginMissingEvent, zap.String("nexthop", nexthop), zap.String("error", short(err.Error())))
}

// noWay says that mail waits, because Sendmail can't go the way that it should.
func (l *eventLog) noWay(sender string, err error) {
	l.zap.Error("mail is held back: Sendmail can't go its way", noWayEvent, zap.String("sender", short(sender)), zap.String("error", short(err.Error())))
}

// loginWithheld says that mail waits, because the login of a user's own server must not be
// shown to the host that it is for.
func (l *eventLog) loginWithheld(sender, nexthop, why string) {
	l.zap.Error("mail is held back: the host is shown no login", loginWithheldEvent, zap.String("sender", short(sender)), zap.String("nexthop", short(nexthop)), zap.String("error", why))
}

// loginFails says that mail waits, because a user's own server was asked and does not take
// his login.
func (l *eventLog) loginFails(login, nexthop string, err error) {
	l.zap.Error("mail is held back: the user's server does not take the login", loginFailsEvent, zap.String("login", short(login)), zap.String("nexthop", nexthop), zap.String("error", short(err.Error())))
}

// passwordUnknown says that mail waits, because the database has a password of a user's own server
// that can't be decrypted.
func (l *eventLog) passwordUnknown(sender, nexthop string) {
	l.zap.Error("mail is held back: the password of the user's server can't be decrypted", passwordUnknownEvent, zap.String("sender", short(sender)), zap.String("nexthop", nexthop))
}

// noJournal says why the log goes to stderr.
func (l *eventLog) noJournal(err error) {
	l.zap.Error("there is no journal, so the log goes to stderr; set target = stderr in [log], or start systemd-journald", noJournalEvent, zap.Error(err))
}

// unanswered says that the watchdog will not be told that we live.
func (l *eventLog) unanswered(err error) {
	l.zap.Error("a socket of ours does not answer; if it stays so, systemd starts gatemilter anew", unansweredEvent, zap.Error(err))
}

// untold says that systemd doesn't know how we are, and may take us for dead.
func (l *eventLog) untold(err error) {
	l.zap.Warn("systemd can't be told how gatemilter is", untoldEvent, zap.Error(err))
}

// trouble is something that went wrong on a connection with the mail server.
func (l *eventLog) trouble(remote string, err error) {
	l.connection("milter connection", connectionEvent, remote, err)
}

// connection writes the line about an error. What panicked can't be found without the
// stack.
func (l *eventLog) connection(message string, kind zap.Field, remote string, err error) {
	fields := []zap.Field{kind, zap.String("peer", remote), zap.String("error", short(err.Error()))}
	if p := (*accept.PanicError)(nil); errors.As(err, &p) {
		fields = append(fields, zap.ByteString("stack", p.Stack))
	}
	l.zap.Error(message, fields...)
}

// message writes the one line about a message.
func (l *eventLog) message(r *milter.Record) {
	if entry := l.zap.Check(level(r), summary(r)); entry != nil {
		entry.Write(append(recordFields(r), kind(r))...)
		l.hints(r)
	}
}

// kind tells what was decided on from what went wrong.
func kind(r *milter.Record) zap.Field {
	if r.Failure != nil {
		return messageErrorEvent
	}
	return messageEvent
}

// hints are what the administrator should look after: they are lines of their own.
func (l *eventLog) hints(r *milter.Record) {
	for _, reason := range r.Verdict.Reasons {
		switch reason.Code {
		case policy.LikelyGateway, policy.UnrecognisedHop, policy.ScoreUnreadable, policy.CertificateMissing, policy.SecretMissing, policy.UnknownSender:
			l.zap.Warn(string(reason.Code), hintEvent, zap.String("queue_id", short(r.QueueID)), zap.String("client_ip", addr(r.Client)), zap.String("hint", short(reason.Text)))
		}
	}
}
