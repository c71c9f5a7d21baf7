package lab

import (
	"reflect"
	"testing"
)

// TestParseQueueFile has texts that Sendmail 8.17.1.9 wrote, without most of their headers.
func TestParseQueueFile(t *testing.T) {
	const header = "H?P?Return-Path: <\x81g>\nH??Received: from client.test (localhost [127.0.0.1])\n" +
		"\tby mx.lab.test (8.17.1.9/8.17.1.9) with ESMTP id 6AM2NlnR016658;\n\tSun, 22 Nov 2026 02:23:47 GMT\nH??Subject: t\n.\n"
	const start, macros = "V8\nT1795314227\nK1795314227\nN1\nP60055\n", "$_localhost [127.0.0.1]\n$rESMTP\n$sclient.test\n${daemon_flags}\n"
	const refused = "Deferred: Connection refused by [127.0.0.1]"
	for name, c := range map[string]struct {
		text string
		want Queued
	}{
		"deferred for one reason": {
			start + "M" + refused + "\nFs\n" + macros + "S<x@client.test>\n" +
				"rRFC822; far@away.test\nRPFD:<far@away.test>\nrRFC822; near@by.test\nRPFD:<near@by.test>\n" + header,
			Queued{Queue: "deferred", Sender: "x@client.test", Recipients: []Recipient{{"far@away.test", refused}, {"near@by.test", refused}}},
		},
		"deferred for a reason of each": {
			start + "Mno login\nFdns\n" + macros + "${gmLogin}alice\nS<alice@ext.test>\nMno login\nrRFC822; bad@far.test\nRPFD:<<bad@far.test>>\n" +
				"Mno TLS\nrRFC822; later@far.test\nRPFD:<<later@far.test>>\n" + header,
			Queued{Queue: "deferred", Sender: "alice@ext.test", Recipients: []Recipient{{"bad@far.test", "no login"}, {"later@far.test", "no TLS"}}},
		},
		"quarantined": {
			start + "qheld back\nFs\n" + macros + "S<\"x y\"@client.test>\nrRFC822; a@lab.test\nRPFD:<a@lab.test>\n" + header,
			Queued{Queue: "hold", Sender: `"x y"@client.test`, Recipients: []Recipient{{"a@lab.test", "held back"}}},
		},
		"bounce": {
			start + "M" + refused + "\nFs\n" + macros + "S<>\nrRFC822; far@away.test\nRPFD:<far@away.test>\n" + header,
			Queued{Queue: "deferred", Recipients: []Recipient{{"far@away.test", refused}}},
		},
		"by the sendmail command": {
			start + "M" + refused + "\nFs\n$_root@localhost\n${daemon_flags}c u\nSroot\nAroot@mx.lab.test\nrRFC822; far@away.test\nRPFD:far@away.test\n" + header,
			Queued{Queue: "deferred", Sender: "root", Recipients: []Recipient{{"far@away.test", refused}}},
		},
	} {
		if got, err := parseQueueFile(c.text); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	if got, err := parseQueueFile(start + "S<x@client.test>\n"); err == nil {
		t.Errorf("half a file: %+v", got)
	}
}
