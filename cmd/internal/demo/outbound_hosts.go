package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatemilter/cmd/internal/lab"
)

// A mailHost is one by which mail leaves, a server on the internet.
type mailHost struct {
	name   string // in the rules; the system's DNS knows no such host
	title  string
	config lab.SinkConfig
	*lab.Sink
}

type mailHosts []*mailHost

// startMailHosts starts all hosts that the outbound rules name. The caller closes them.
func startMailHosts(ca *lab.CA) (mailHosts, error) {
	cert, err := ca.Issue(lab.Subject{Hosts: []string{"127.0.0.2", "127.0.0.3"}})
	if err != nil {
		return nil, err
	}
	hosts := mailHosts{
		{name: "smtp.partner.example", title: "partner.example's server",
			config: lab.SinkConfig{IP: "127.0.0.2", Cert: cert, Logins: map[string]string{"alice": alicesPassword, "bob": bobsPassword}}},
		{name: "mail.club.example", title: "club.example's server",
			config: lab.SinkConfig{IP: "127.0.0.3", Cert: cert, Implicit: true, Logins: map[string]string{"a.club": clubsPassword}}},
		{name: "out.filter.example", title: "the outbound gateway", config: lab.SinkConfig{IP: "127.0.0.4"}},
	}
	for i, h := range hosts {
		if h.Sink, err = h.config.Start(); err != nil {
			hosts[:i].close()
			return nil, fmt.Errorf("%s: %w", h.title, err)
		}
	}
	return hosts, nil
}

func (hosts mailHosts) close() {
	for _, h := range hosts {
		h.Close()
	}
}

// withAddresses puts the hosts' addresses and ports in place of their names in rules.
func (hosts mailHosts) withAddresses(rules string) string {
	for _, h := range hosts {
		rules = strings.ReplaceAll(rules, "= "+h.name+"\n", "= "+h.Addr().String()+"\n")
	}
	return rules
}

// offers says how mail gets to the host.
func (h *mailHost) offers() string {
	how := "STARTTLS"
	switch {
	case h.config.Cert == nil:
		how = "no TLS"
	case h.config.Implicit:
		how = "TLS from the start"
	}
	if h.config.Logins == nil {
		return how + ", no login"
	}
	return how + ", login " + strings.Join(slices.Sorted(maps.Keys(h.config.Logins)), " or ")
}
