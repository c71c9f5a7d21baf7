package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"gatemilter/milter"
	"gatemilter/milter/accept"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

func observedLog() (*eventLog, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	return &eventLog{zap.New(core)}, logs
}

var client = policy.Client{IP: netip.MustParseAddr("192.0.2.2"), Name: "gw.example", HELO: "gw.example", TLS: policy.TLS13}

func record(change func(*milter.Record)) *milter.Record {
	r := &milter.Record{
		QueueID: "4F1A2B", Client: client, Sender: "a@outside.example", Stage: milter.StageEnd, Duration: 1234567 * time.Nanosecond,
		Verdict: policy.Verdict{
			Gateway:    "filter",
			Source:     policy.Source{IP: netip.MustParseAddr("198.51.100.7"), Outcome: policy.External, HELO: "mail.outside.example"},
			Recipients: []policy.Decision{{Address: "user@example.com"}},
			Reasons:    []policy.Reason{{Code: policy.FromGateway}, {Code: policy.SourceFound}},
		},
	}
	change(r)
	return r
}

// The line about a message reads well by itself.
func TestS5Summary(t *testing.T) {
	refusal := policy.Decision{Address: "user@example.com", Action: policy.Reject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}}
	for _, c := range []struct {
		want   string
		level  zapcore.Level
		change func(*milter.Record)
	}{
		{"message accepted: from 192.0.2.2 via gateway filter, source 198.51.100.7", zap.InfoLevel, func(*milter.Record) {}},
		{"message accepted: from 192.0.2.2 via gateway filter, internal", zap.InfoLevel, func(r *milter.Record) { r.Verdict.Source = policy.Source{Outcome: policy.Internal} }},
		{"message accepted: from 192.0.2.2", zap.InfoLevel, func(r *milter.Record) { r.Verdict.Gateway = "" }},
		{"message accepted, exempt: from 192.0.2.2", zap.InfoLevel, func(r *milter.Record) { r.Verdict = policy.Verdict{Direction: policy.Exempt} }},
		{"message accepted, exempt", zap.InfoLevel, func(r *milter.Record) {
			r.Client, r.Verdict = policy.Client{}, policy.Verdict{Direction: policy.Exempt}
		}},
		{"message accepted, outbound: from 192.0.2.2, for the user's own server [smtp.partner.example]:587", zap.InfoLevel, func(r *milter.Record) {
			r.Verdict = policy.Verdict{Direction: policy.Outgoing, UserGateway: &policy.UserGateway{Host: "smtp.partner.example", Port: 587}}
		}},
		{"message accepted: from 192.0.2.2 via gateway filter, source 198.51.100.7, spam (score 0.70 of 0.50)", zap.InfoLevel, func(r *milter.Record) {
			r.Verdict.Spam = policy.Spam{IsSpam: true, Scored: true, Score: 0.7, Threshold: 0.5}
		}},
		{"message accepted: from 192.0.2.2 via gateway filter, source 198.51.100.7, not spam (score 0.10 of 0.50)", zap.InfoLevel, func(r *milter.Record) { r.Verdict.Spam = policy.Spam{Scored: true, Score: 0.1, Threshold: 0.5} }},
		{"message quarantined: from 192.0.2.2 via gateway filter, source 198.51.100.7, spam", zap.InfoLevel, func(r *milter.Record) {
			r.Verdict.Spam.IsSpam, r.Verdict.Action = true, policy.Quarantine
		}},
		{"message rejected: from 192.0.2.2, 1 of 1 recipients refused", zap.InfoLevel, func(r *milter.Record) {
			r.Stage, r.Verdict = milter.StageRcpt, policy.Verdict{Action: policy.Reject, Recipients: []policy.Decision{refusal}}
		}},
		{"message would be rejected: from 192.0.2.2, 1 of 1 recipients would be refused", zap.InfoLevel, func(r *milter.Record) {
			r.Mode, r.Verdict = policy.Observe, policy.Verdict{Action: policy.Reject, Recipients: []policy.Decision{refusal}}
		}},
		{"message not completed: from 192.0.2.2", zap.DebugLevel, func(r *milter.Record) { r.Stage, r.Verdict = milter.StageAborted, policy.Verdict{} }},
		{"message not completed: from 192.0.2.2, 1 of 2 recipients refused", zap.InfoLevel, func(r *milter.Record) {
			r.Stage, r.Verdict = milter.StageAborted, policy.Verdict{Recipients: []policy.Decision{refusal, {Address: "x@free.example"}}}
		}},
		{"message refused because of an error: from 192.0.2.2", zap.ErrorLevel, func(r *milter.Record) {
			r.Failure, r.Verdict = errors.New("limit"), policy.Verdict{}
		}},
	} {
		log, logs := observedLog()
		log.message(record(c.change))
		got := logs.All()
		if len(got) != 1 || got[0].Message != c.want || got[0].Level != c.level {
			t.Errorf("logged %v, want %s %q", got, c.level, c.want)
		}
	}
}

// The whole line, as it is written for people.
func TestS5ConsoleLine(t *testing.T) {
	var out bytes.Buffer
	log := newEventLog(config.Log{Format: "console", Level: "info"}, &out)
	log.message(record(func(r *milter.Record) { r.Login = "" }))
	log.Sync()
	_, line, _ := strings.Cut(out.String(), " ")
	want := `info message accepted: from 192.0.2.2 via gateway filter, source 198.51.100.7 {"queue_id": "4F1A2B", "verdict": "accept", ` +
		`"client_ip": "192.0.2.2", "client_name": "gw.example", "helo": "gw.example", "tls": "1.3", "gateway": "filter", ` +
		`"source_ip": "198.51.100.7", "source_helo": "mail.outside.example", "source": "external", "sender": "a@outside.example", "recipients": 1, ` +
		`"reasons": ["from-gateway","source-external"], "stage": "end-of-message", "mode": "enforce", "duration": "1.235ms"}` + "\n"
	if diff := cmp.Diff(want, strings.ReplaceAll(line, `", "source-`, `","source-`)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// What a stranger sends can't forge a line or reach a terminal, and a line has a
// limit.
func TestS5HostileText(t *testing.T) {
	evil := "a\x1b[31m\u009b\u202e\n2026-01-01 info message accepted\x00\xff" + strings.Repeat("x", 100000)
	for _, format := range []string{"console", "json"} {
		var out bytes.Buffer
		log := newEventLog(config.Log{Format: format, Level: "debug"}, &out)
		log.message(record(func(r *milter.Record) {
			r.Sender, r.Login, r.QueueID, r.Client.HELO, r.Client.Name = evil, evil, evil, evil, evil
			r.Verdict.Source.HELO = evil
			r.Verdict.Recipients = nil
			for range 1000 {
				r.Verdict.Recipients = append(r.Verdict.Recipients, policy.Decision{Address: evil, Action: policy.Reject})
			}
			r.Verdict.Reasons = []policy.Reason{{Code: policy.ScoreUnreadable, Text: evil[:50]}}
		}))
		log.Sync()
		if strings.Count(out.String(), "\n") != 2 || strings.ContainsAny(out.String(), "\x1b\x00\u009b\u202e") || !utf8.ValidString(out.String()) || out.Len() > 20000 {
			t.Errorf("%s: %d octets: %.2000q", format, out.Len(), out.String())
		}
	}
}

// What the administrator should look after is a line of its own.
func TestHints(t *testing.T) {
	log, logs := observedLog()
	log.message(record(func(r *milter.Record) {
		r.Verdict.Reasons = append(r.Verdict.Reasons, policy.Reason{Code: policy.LikelyGateway, Text: "192.0.2.3 is a neighbour"}, policy.Reason{Code: policy.UnrecognisedHop, Text: "passed"})
	}))
	var got []string
	for _, e := range logs.FilterLevelExact(zap.WarnLevel).All() {
		got = append(got, e.Message+": "+e.ContextMap()["hint"].(string))
	}
	if diff := cmp.Diff([]string{"likely-missing-gateway: 192.0.2.3 is a neighbour", "unrecognised-hop: passed"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// No event is left out, however many are alike.
func TestNoSampling(t *testing.T) {
	var out bytes.Buffer
	log := newEventLog(config.Log{Format: "json", Level: "info"}, &out)
	for range 1000 {
		log.message(record(func(*milter.Record) {}))
	}
	log.Sync()
	if n := strings.Count(out.String(), "\n"); n != 1000 {
		t.Errorf("%d lines, want 1000", n)
	}
}

// A panic is reported with the place where it happened, on one line.
func TestPanicHasItsStack(t *testing.T) {
	var out bytes.Buffer
	log := newEventLog(config.Log{Format: "console", Level: "info"}, &out)
	for name, report := range map[string]func(string, error){"milter connection": log.trouble, "lookup": log.lookupTrouble} {
		out.Reset()
		func() {
			defer func() { report("unix socket", fmt.Errorf("wrapped: %w", accept.Panicked("Mail", recover()))) }()
			panic("none left")
		}()
		log.Sync()
		line := out.String()
		for _, want := range []string{name, `"error": "wrapped: panic in Mail: none left"`, "TestPanicHasItsStack", "eventlog_test.go"} {
			if !strings.Contains(line, want) {
				t.Errorf("%q lacks %q", line, want)
			}
		}
		if strings.Count(line, "\n") != 1 {
			t.Errorf("more than one line: %q", line)
		}
	}
}
