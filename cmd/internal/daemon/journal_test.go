package daemon

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"gatemilter/cmd/internal/lab"
	"gatemilter/milter"
	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// Every field of a message is in the journal: each reason can be searched by itself.
func TestS5JournalMessage(t *testing.T) {
	withJournald(t, func(j *journald) {
		log := j.log()
		log.message(record(func(r *milter.Record) {
			r.Login = "alice@example.com"
			v := &r.Verdict
			v.Recipients = append(v.Recipients,
				policy.Decision{Address: "b@other.example", Action: policy.Reject, Reasons: []policy.Reason{{Code: policy.AroundGateway}}},
				policy.Decision{Address: "c@other.example", Action: policy.Reject})
			v.Spam = policy.Spam{IsSpam: true, Scored: true, Score: 0.7, Threshold: 0.5}
			v.Authentication = policy.Authentication{DKIM: []policy.DKIM{{Result: "pass", Domain: "outside.example"}}, DMARC: policy.DMARC{Result: "pass", Policy: "reject"}}
			v.UserGateway = &policy.UserGateway{Host: "smtp.partner.example", Port: 587}
			v.Edits = make([]policy.Edit, 3)
		}))
		log.message(record(func(r *milter.Record) { r.QueueID = "2ND" }))
		log.Sync()
		want := map[string]any{
			"MESSAGE":    "message accepted: from 192.0.2.2 via gateway filter, source 198.51.100.7, spam (score 0.70 of 0.50), for the user's own server [smtp.partner.example]:587, 2 of 3 recipients refused",
			"MESSAGE_ID": messageEvent.String, "PRIORITY": "6", "SYSLOG_IDENTIFIER": "gatemilter", "SYSLOG_FACILITY": "2",
			"QUEUE_ID": "4F1A2B", "VERDICT": "accept", "STAGE": "end-of-message", "MODE": "enforce", "EDITS": "3", "DURATION": "1.235ms",
			"CLIENT_IP": "192.0.2.2", "CLIENT_NAME": "gw.example", "HELO": "gw.example", "TLS": "1.3", "LOGIN": "alice@example.com",
			"GATEWAY": "filter", "SOURCE": "external", "SOURCE_IP": "198.51.100.7", "SOURCE_HELO": "mail.outside.example",
			"SENDER": "a@outside.example", "RECIPIENTS": "3", "REFUSED_RECIPIENTS": []any{"b@other.example", "c@other.example"},
			"ROUTE": (&policy.UserGateway{}).Transport() + ":[smtp.partner.example]:587",
			"SPAM":  "true", "SPAM_SCORE": "0.7", "SPAM_THRESHOLD": "0.5",
			"DKIM": "pass outside.example", "DMARC": "pass", "DMARC_POLICY": "reject",
			"REASONS": []any{"from-gateway", "source-external", "around-gateway"},
		}
		got := j.entries("REASONS=around-gateway")
		if diff := cmp.Diff([]map[string]any{want}, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		for match, want := range map[string]int{"QUEUE_ID=2ND": 1, "CLIENT_IP=192.0.2.2": 2, "REASONS=source-external": 2, "REASONS=source": 0, "GATEWAY=filter": 2, "VERDICT=reject": 0} {
			if n := len(j.entries(match)); n != want {
				t.Errorf("%s finds %d entries, want %d", match, n, want)
			}
		}
	})
}

// logAll has one entry written for each kind of event, but linesDroppedEvent, which is the
// queue's, and noJournalEvent; it returns their kinds and priorities.
func logAll(log *eventLog) (want []string) {
	c := &config.Config{Warnings: []config.Problem{{File: "a.conf", Line: 3}}}
	for _, e := range []struct {
		write func()
		kinds []zap.Field
		level int
	}{
		{func() { log.started(&config.Config{}, nil) }, []zap.Field{startedEvent}, 6},
		{func() { log.warnings(c) }, []zap.Field{doubtfulEvent}, 4},
		{func() { log.reloaded(&config.Config{}, nil) }, []zap.Field{reloadedEvent}, 6},
		{func() { log.reloadRefused(io.EOF) }, []zap.Field{configRefusedEvent}, 3},
		{func() { log.reloadRefused(config.Errors{{File: "a.conf", Line: 3}}) }, []zap.Field{configRefusedEvent}, 3},
		{func() { log.stopping(nil) }, []zap.Field{stoppingEvent}, 6},
		{func() { log.stopping(io.EOF) }, []zap.Field{failedEvent}, 3},
		{func() { log.stopped() }, []zap.Field{stoppedEvent}, 6},
		{func() { log.message(record(func(*milter.Record) {})) }, []zap.Field{messageEvent}, 6},
		{func() { log.message(record(func(r *milter.Record) { r.Failure = io.EOF })) }, []zap.Field{messageErrorEvent}, 3},
		{func() {
			log.message(record(func(r *milter.Record) { r.Stage, r.Verdict = milter.StageAborted, policy.Verdict{} }))
		}, []zap.Field{messageEvent}, 7},
		{func() { log.hints(record(func(r *milter.Record) { r.Verdict.Reasons[0].Code = policy.LikelyGateway })) }, []zap.Field{hintEvent}, 4},
		{func() { log.trouble("unix socket", io.EOF) }, []zap.Field{connectionEvent}, 3},
		{func() { log.lookupTrouble("unix socket", io.EOF) }, []zap.Field{lookupEvent}, 3},
		{func() { log.demandFailed("relays", "[a.example]:25", io.EOF) }, []zap.Field{demandFailedEvent}, 3},
		{func() { log.loginWithheld("a@b.example", "[a.example]:25", "no") }, []zap.Field{loginWithheldEvent}, 3},
		{func() { log.identityChanged(identity.Change{Action: identity.Confirmed}) }, []zap.Field{identityEvent}, 6},
		{func() { log.identitiesLoaded(1, identityCounts{}, 1) }, []zap.Field{identitiesEvent}, 6},
		{func() { log.databaseDown(io.EOF, true) }, []zap.Field{databaseDownEvent}, 3},
		{func() { log.databaseDown(io.EOF, false) }, []zap.Field{databaseDownEvent}, 3},
		{func() { log.databaseBack(time.Second) }, []zap.Field{databaseBackEvent}, 6},
		{func() { log.leftOut(leftOut{}) }, []zap.Field{leftOutEvent}, 4},
		{func() { log.moreLeftOut(1) }, []zap.Field{leftOutEvent}, 4},
		{func() { log.badIdentity(&identity.RowError{Err: io.EOF}) }, []zap.Field{leftOutEvent}, 3},
		{func() { log.badIdentity(&identity.RowError{Err: identity.ErrPassword}) }, []zap.Field{passwordEvent}, 3},
		{func() { log.identityKeysMissing(io.EOF) }, []zap.Field{passwordEvent}, 3},
		{func() { log.passwordUnknown("a@b.example", "[a.example]:25") }, []zap.Field{passwordUnknownEvent}, 3},
		{func() { log.snapshotTrouble(io.EOF) }, []zap.Field{snapshotEvent}, 3},
		{func() { log.unanswered(io.EOF) }, []zap.Field{unansweredEvent}, 3},
		{func() { log.untold(io.EOF) }, []zap.Field{untoldEvent}, 4},
	} {
		e.write()
		for _, kind := range e.kinds {
			want = append(want, fmt.Sprint(kind.String, " ", e.level))
		}
	}
	log.reloaded(&config.Config{}, []string{"[log]"})
	return append(want, reloadedEvent.String+" 6", restartNeededEvent.String+" 4")
}

// Every entry says of what kind it is, and how grave; and the journal explains each kind.
func TestS5JournalCatalog(t *testing.T) {
	withJournald(t, func(j *journald) {
		catalog := must(filepath.Abs("../../../packaging/systemd"))
		j.must(syscall.Mount(catalog, "/usr/lib/systemd/catalog", "", syscall.MS_BIND, ""))
		if out, err := exec.Command("journalctl", "--update-catalog").CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v: %s", err, out)
		}
		log := j.log()
		want := logAll(log)
		log.Sync()
		var got []string
		for _, e := range j.entries() {
			got = append(got, fmt.Sprint(e["MESSAGE_ID"], " ", e["PRIORITY"]))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("kinds and priorities: -want +got\n%s", diff)
		}
		declared := events(t)
		for _, id := range declared {
			out, err := exec.Command("journalctl", "--dump-catalog", id).CombinedOutput()
			if text := string(out); err != nil || !strings.Contains(text, "Subject: ") || !strings.Contains(text, "Defined-By: gatemilter") || strings.Count(text, "\n") < 5 {
				t.Errorf("%s: %v\n%s", id, err, out)
			}
		}
		if list := must(exec.Command("journalctl", "--list-catalog").Output()); strings.Count(string(list), "\n") != len(declared) {
			t.Errorf("the catalog has other entries than journalevent.go:\n%s", list)
		}
		if text := j.journalctl("--catalog", "-t", journalIdentifier, "MESSAGE_ID="+messageErrorEvent.String); !strings.Contains(text, "the message 4F1A2B") {
			t.Errorf("the explanation does not name the message:\n%s", text)
		}
	})
}

// events reads the ids from the source.
func events(t *testing.T) (ids []string) {
	file, err := parser.ParseFile(token.NewFileSet(), "journalevent.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && fmt.Sprint(call.Fun) == "event" {
			ids = append(ids, must(strconv.Unquote(call.Args[0].(*ast.BasicLit).Value)))
		}
		return true
	})
	slices.Sort(ids)
	for i, id := range ids {
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) || i > 0 && id == ids[i-1] {
			t.Errorf("%q is no id, or that of two kinds", id)
		}
	}
	return ids
}

// What a stranger sends adds no field and no entry, reaches no terminal, and has a limit.
func TestS5JournalHostileText(t *testing.T) {
	withJournald(t, func(j *journald) {
		evil := "a\nVERDICT=accept\n\x1b[31m\u009b\u202e\x00\xff" + strings.Repeat("x", 100<<10)
		log := j.log()
		log.message(record(func(r *milter.Record) {
			r.Sender, r.Login, r.QueueID, r.Client.HELO, r.Client.Name, r.Verdict.Source.HELO = evil, evil, evil, evil, evil, evil
			r.Verdict.Action = policy.Reject
			for n := range 1000 {
				r.Verdict.Recipients = append(r.Verdict.Recipients, policy.Decision{Address: strconv.Itoa(n) + evil, Action: policy.Reject})
			}
		}))
		log.trouble(evil, errors.New(evil))
		log.zap.Info(evil, zap.String("_PID", "1"), zap.String("été 2", evil), zap.String("7_", "seven"), zap.ByteString("stack", []byte(evil)), zap.String("", "none"))
		log.Sync()
		shown := `a\nVERDICT=accept\n\x1b[31m\u009b\u202e\x00\xffxxx`
		lines := "a\nVERDICT=accept\n" + `\x1b[31m\u009b\u202e\x00\xffxxx`
		got := j.entries()
		if len(got) != 3 {
			t.Fatalf("%d entries", len(got))
		}
		for i, fields := range []map[string]string{
			{"SENDER": shown, "LOGIN": shown, "QUEUE_ID": shown, "HELO": shown, "CLIENT_NAME": shown, "SOURCE_HELO": shown, "VERDICT": "reject"},
			{"ERROR": shown, "PEER": lines},
			{"MESSAGE": shown, "PID": "1", "T__2": lines, "STACK": lines},
		} {
			for name, want := range fields {
				value, _ := got[i][name].(string)
				if !strings.HasPrefix(value, want) || len(value) > maxValue+len("…") || strings.ContainsAny(value, "\x1b\x00\u009b\u202e") || !utf8.ValidString(value) {
					t.Errorf("%s: %d octets: %.100q", name, len(value), got[i][name])
				}
			}
		}
		if list := got[0]["REFUSED_RECIPIENTS"].([]any); len(list) != maxRecipients || !strings.HasPrefix(list[0].(string), "0"+shown) {
			t.Errorf("%d refused recipients: %.100q", len(list), list)
		}
		if text := j.journalctl("-o", "short", "-t", journalIdentifier); strings.Count(text, "\n") != 3 || strings.Contains(text, "blob data") || strings.ContainsAny(text, "\x1b\x00") {
			t.Errorf("as people see it:\n%.1000q", text)
		}
	})
}

// Even an entry of nothing but long values is one that the journal takes.
func TestS5JournalEntryHasALimit(t *testing.T) {
	withJournald(t, func(j *journald) {
		log := j.log()
		var fields []zap.Field
		for n := range 26 {
			fields = append(fields, zap.String(string(rune('a'+n)), strings.Repeat("\x00", 100<<10)))
		}
		log.zap.Info("much", fields...)
		log.Sync()
		got := j.entries("MESSAGE=much")
		if len(got) != 1 || len(got[0]["A"].(string)) != maxValue+len("…") || got[0]["C"] == nil || got[0]["Z"] != nil {
			t.Errorf("%.300q", got)
		}
	})
}

// While the journal takes nothing, nobody waits; what is lost is counted and said.
func TestS5JournalFull(t *testing.T) {
	withJournald(t, func(j *journald) {
		log := j.log()
		j.must(j.cmd.Process.Signal(syscall.SIGSTOP))
		const written = 3 * queuedLines
		for range written { // would never end if it waited
			log.message(record(func(*milter.Record) {}))
		}
		j.must(j.cmd.Process.Signal(syscall.SIGCONT))
		var taken, dropped int
		err := lab.Until(j.t.Context(), "each line to be there, or said to be lost", func() bool {
			log.Sync() // which has its own limit
			taken, dropped = len(j.entries("VERDICT=accept")), j.dropped()
			return taken+dropped >= written
		})
		if err != nil || taken < queuedLines || dropped == 0 || taken+dropped != written {
			t.Errorf("%d taken, %d said to be dropped, of %d: %v", taken, dropped, written, err)
		}
	})
}

// dropped adds up what the entries about gaps say.
func (j *journald) dropped() (sum int) {
	for _, e := range j.entries("MESSAGE_ID=" + linesDroppedEvent.String) {
		sum += must(strconv.Atoi(e["DROPPED"].(string)))
		if e["PRIORITY"] != "3" {
			j.t.Errorf("a gap is an error: %v", e)
		}
	}
	return sum
}

// A journal that is started anew gets what comes then, and is told what it missed.
func TestS5JournalRestarted(t *testing.T) {
	withJournald(t, func(j *journald) {
		log := j.log()
		write := func(id string) {
			log.message(record(func(r *milter.Record) { r.QueueID = id }))
			log.Sync()
		}
		write("BEFORE")
		j.journalctl()
		j.kill()
		write("MEANWHILE")
		write("MEANWHILE")
		j.start()
		write("AFTER")
		var got []any
		for _, e := range j.entries() {
			if e["QUEUE_ID"] != nil {
				got = append(got, e["QUEUE_ID"])
			} else {
				got = append(got, e["MESSAGE_ID"])
			}
		}
		if diff := cmp.Diff([]any{"BEFORE", linesDroppedEvent.String, "AFTER"}, got); diff != "" || j.dropped() != 2 {
			t.Errorf("%d dropped; -want +got\n%s", j.dropped(), diff)
		}
	})
}

// Without target, a service logs to the journal and not by way of stderr; with target =
// stderr it does, line by line.
func TestS5JournalByDefault(t *testing.T) {
	if serving(t) {
		return
	}
	withJournald(t, func(j *journald) {
		j.serve("")
		if e := j.entries("_TRANSPORT=journal"); len(e) != 3 || e[0]["MESSAGE_ID"] != startedEvent.String || !strings.Contains(fmt.Sprint(e[0]["MILTER"]), "m.sock") {
			t.Errorf("by default: %v", e)
		}
		if text := j.journalctl("-o", "cat", "-t", "a-service"); strings.Contains(text, "started") {
			t.Errorf("on stderr too: %s", text)
		}
		j.serve("[log]\ntarget = stderr\n")
		if text := j.journalctl("-o", "cat", "-t", "a-service", "_TRANSPORT=stdout"); !strings.Contains(text, " info started {") || len(j.entries()) != 3 {
			t.Errorf("target = stderr: %s", text)
		}
	})
}

// Without a journal the log is on stderr, and says so: mail doesn't wait for a log.
func TestS5NoJournal(t *testing.T) {
	withJournald(t, func(j *journald) {
		j.kill()
		var out strings.Builder
		log := newEventLog(config.Log{Target: "journal", Format: "console", Level: "info"}, &out)
		log.stopped()
		log.Sync()
		if lines := strings.Split(out.String(), "\n"); len(lines) != 3 || !strings.Contains(lines[0], "error there is no journal") || !strings.Contains(lines[1], "info stopped") {
			t.Errorf("%q", out.String())
		}
	})
}

// Names that the journal would not take are made such as it does.
func TestFieldName(t *testing.T) {
	for key, want := range map[string]string{
		"queue_id": "QUEUE_ID", "client-ip": "CLIENT_IP", "_pid": "PID", "1st": "ST", "": "", "__": "", "é": "", "a.b": "A_B",
		strings.Repeat("x", 70): strings.Repeat("X", 64),
	} {
		if got := fieldName(key); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
}
