package main

import (
	"context"
	"net/mail"
	"slices"
	"strings"

	"gatemilter/cmd/internal/lab"
)

// outbound is the part about mail of users.
func outbound() part { return part{"Outgoing mail", outboundRules, outboundScenes, 4} }

// The passwords of users' accounts elsewhere.
const (
	alicesPassword = "seven bridges"
	bobsPassword   = "three doors: two goats"
	clubsPassword  = "twelve balls, one scale"
)

// outboundRules name mail hosts as on the internet; the demo's are on loopback.
const outboundRules = `[route filter]
host        = out.filter.example
require_tls = no

[outbound]
gateway             = filter
allow_user_gateways = yes
user_gateway_slots  = 2

[user alice]
addresses = alice@example.com, alice@elsewhere.example
[user bob]
addresses = bob@example.com

[user-gateway alice alice@partner.example]
server   = smtp.partner.example
username = alice
password = ` + alicesPassword + `
[user-gateway bob alice@partner.example]
server   = smtp.partner.example
username = bob
password = ` + bobsPassword + `
slot     = 1
[user-gateway alice alice@club.example]
server   = mail.club.example
tls      = implicit
username = a.club
password = ` + clubsPassword + `
`

// both are the recipients of all outgoing messages: one elsewhere, one with a mailbox here.
const far, here = "friend@remote.example", "user@example.com"
const both = far + " " + here

var outboundScenes = []scene{
	{title: "by her own server", from: alice, tls: true, as: "alice@partner.example", to: both},
	{title: "the same address, another login", from: bob, tls: true, as: "alice@partner.example", to: both},
	{title: "by another server of hers", from: alice, tls: true, as: "alice@club.example", to: both},
	{title: "as the address of her account", from: alice, tls: true, as: "alice@example.com", to: both},
	{title: "as an address without a server", from: alice, tls: true, as: "alice@elsewhere.example", to: both},
	{title: "as somebody else", from: alice, tls: true, as: "boss@example.com", to: both},
}

// newOutboundStage starts Postfix and gatemilter for users, whose mail leaves by these hosts.
func newOutboundStage(ctx context.Context, program string, ca *lab.CA, hosts mailHosts) (*stage, error) {
	s, err := newStage(ctx, program, ca, lab.Config{
		Mailboxes: []string{here},
		Files:     map[string]string{"etc/ca.pem": string(ca.PEM())},
		// Where Postfix has no SASL, the login that the demo pretends allows no relaying.
		Main: "mynetworks = 127.0.0.0/8, " + alice.ip + "\n",
	}, hosts.withAddresses(outboundRules))
	if err == nil {
		s.hosts = hosts
	}
	return s, err
}

// A departure is what a host took of a message.
type departure struct {
	by *mailHost
	lab.Taken
}

// departure returns how a scene left. It is nil if it did not.
func (hosts mailHosts) departure(sc scene) *departure {
	for _, h := range hosts {
		for _, t := range h.Taken() {
			if d := (departure{h, t}); slices.Equal(d.values("Subject"), []string{sc.title}) {
				return &d
			}
		}
	}
	return nil
}

// values returns those of a header field.
func (d departure) values(name string) []string {
	m, err := mail.ReadMessage(strings.NewReader(d.Data))
	if err != nil {
		return nil // the host did not get all of it
	}
	return m.Header[name]
}

func (d departure) note() string {
	how := "in clear"
	if d.TLS {
		how = "in TLS"
	}
	return "left " + how + " for " + strings.Join(d.To, ", ")
}
