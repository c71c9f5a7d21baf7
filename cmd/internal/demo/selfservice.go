package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/identity"
)

// The part about users who attach their addresses themselves has no scenes of its own but the
// last one: what goes before is a visit to the portal.

// accountPassword is Alice's at our mail server.
const accountPassword = "open sesame"

// newcomer is Alice, whom no configuration names.
var newcomer = client{ip: alice.ip, name: alice.name, login: "alice@example.com"}

// theirScene is what she writes in the end.
var theirScene = scene{title: "as her attached address", from: newcomer, tls: true, as: "alice@partner.example", to: both}

// portalRules are what the administrator writes. The rest of the sections, which says that all
// is on loopback, is not shown.
const portalRules = `[outbound]
domains             = example.com
allow_user_gateways = yes

[portal]
listen     = inet:PORTAL
url        = https://PORTAL
submission = SUBMISSION
`

// newPortalStage starts Postfix and gatemilter with a portal at the address.
func newPortalStage(ctx context.Context, program string, ca *lab.CA, hosts mailHosts, portal netip.AddrPort) (*stage, error) {
	cert, err := ca.Issue(lab.Subject{Hosts: []string{"mx.lab.test", portal.Addr().String()}})
	if err != nil {
		return nil, err
	}
	c := lab.Config{
		Mailboxes: []string{here},
		Files:     map[string]string{"etc/ca.pem": string(ca.PEM())},
		Main:      "mynetworks = 127.0.0.0/8, " + alice.ip + "\n",
		Logins:    map[string]string{newcomer.login: accountPassword},
		Cert:      cert,
	}
	s, err := newStageOf(ctx, ca, c)
	if err != nil {
		return nil, err
	}
	s.hosts = hosts
	if err := s.startPortal(ctx, program, cert, portal); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// startPortal runs gatemilter, with a database of its own.
func (s *stage) startPortal(ctx context.Context, program string, cert *lab.Cert, portal netip.AddrPort) error {
	at := func(name string) string { return filepath.Join(s.postfix.ConfigDir(), name) }
	if err := identity.CreateKeyFile(at("identities.key")); err != nil {
		return err
	}
	if err := cert.WriteFile(at("portal.pem")); err != nil {
		return err
	}
	var ports []string
	for _, h := range s.hosts {
		ports = append(ports, fmt.Sprint(h.Addr().Port()))
	}
	rules := portalRulesAt(portal, s.postfix.Addr()) + fmt.Sprintf("submission_ca_file = %s\ncertificate = %s\nkey = %[2]s\nallowed_networks = 127.0.0.0/8\nports = %s\n"+
		"[identities]\ndatabase = sqlite:%s\nkey_file = %s\nsnapshot_file = %s\n",
		filepath.Join(s.postfix.QueueDir(), "etc/ca.pem"), at("portal.pem"), strings.Join(ports, ", "),
		at("identities.db"), at("identities.key"), at("identities.snapshot"))
	if err := s.startDaemon(ctx, program, rules); err != nil {
		return err
	}
	return s.setUp(ctx, program)
}

func portalRulesAt(portal netip.AddrPort, submission string) string {
	return strings.NewReplacer("PORTAL", portal.String(), "SUBMISSION", submission).Replace(portalRules)
}

// freePort is an address of loopback at which nobody listens.
func freePort() (netip.AddrPort, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer l.Close()
	return netip.ParseAddrPort(l.Addr().String())
}

// A step is something that a user does in the portal, and what the page then says.
type step struct{ does, says string }

var codeForm = regexp.MustCompile(`\b[0-9A-Z]{5}-[0-9A-Z]{5}\b`)

// attach goes the whole way of an address, as a browser would.
func (s *stage) attach(ctx context.Context, v *visitor, host *mailHost) ([]step, error) {
	server := map[string]string{
		"address": theirScene.as, "name": "Alice", "host": host.Addr().Addr().String(), "port": fmt.Sprintf("%d starttls", host.Addr().Port()),
		"server_username": "alice",
	}
	with := func(key, value string) map[string]string {
		server[key] = value
		return server
	}
	var steps []step
	for _, do := range []struct {
		what, path string
		form       func() map[string]string
	}{
		{"logs in with her mail account", "/login", func() map[string]string {
			return map[string]string{"username": newcomer.login, "password": accountPassword}
		}},
		{"adds " + theirScene.as + ", wrong password", "/add/server", func() map[string]string { return with("password", "guessed") }},
		{"tries again with the right one", "/add/server", func() map[string]string { return with("password", alicesPassword) }},
		{"enters the code from her mailbox there", "/confirm", func() map[string]string {
			return map[string]string{"address": theirScene.as, "code": codeForm.FindString(host.lastLetter())}
		}},
	} {
		says, err := v.post(ctx, do.path, do.form())
		if err != nil {
			return nil, fmt.Errorf("alice %s: %w", do.what, err)
		}
		steps = append(steps, step{do.what, says})
	}
	return steps, nil
}

// lastLetter is the last message that a host took.
func (h *mailHost) lastLetter() string {
	for _, t := range slices.Backward(h.Taken()) {
		if t.Data != "" {
			return t.Data
		}
	}
	return ""
}
