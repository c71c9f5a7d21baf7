package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"gatemilter/policy"
)

// DNS says whom to ask.
type DNS struct {
	// Servers are "ADDRESS:PORT"; none means those of the system.
	Servers []string
	// Timeout is for one answer of one server.
	Timeout time.Duration
}

// Authentication says what is authenticated; for DMARC see [policy.Settings].
type Authentication struct {
	SPF, DKIM bool
	// Signatures is how many DKIM signatures of a message are verified.
	Signatures  int
	ReceivedSPF bool
}

// The bounds of what can be set.
const (
	maxServers    = 8
	minTimeout    = 100 * time.Millisecond
	maxTimeout    = 10 * time.Second
	maxSignatures = 10
)

func (f fields) dns() DNS {
	return DNS{Servers: f.nameServers("servers"), Timeout: f.timeout("timeout")}
}

func (f fields) nameServers(key string) []string {
	var servers []string
	for _, item := range f.list(key) {
		server, err := parseNameServer(item)
		switch {
		case err != nil:
			f.problem(key, "%s: %s", err, hintFor(item, "write ADDRESS:PORT, as in 127.0.0.1:53 or [::1]:53"))
		case slices.Contains(servers, server):
			f.problem(key, "%s is listed twice: remove one of them", quote(item))
		default:
			servers = append(servers, server)
		}
	}
	if len(servers) > maxServers {
		f.problem(key, "%d servers are listed: at most %d are asked, so remove the others", len(servers), maxServers)
	}
	return servers
}

// parseNameServer reads an address with or without the port, which is 53 then.
func parseNameServer(s string) (string, error) {
	at, err := netip.ParseAddrPort(s)
	if ip, alone := netip.ParseAddr(s); alone == nil {
		at, err = netip.AddrPortFrom(ip, 53), nil
	}
	if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() || at.Addr().IsMulticast() {
		return "", fmt.Errorf("%s is no address of a name server", quote(s))
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String(), nil
}

func (f fields) timeout(key string) time.Duration {
	text := f.text(key)
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		f.problem(key, "%s is no duration: %s", quote(text), hintFor(text, "write a number with its unit, as in 5s or 500ms"))
	case d < minTimeout || d > maxTimeout:
		f.problem(key, "%s is not between %s and %s: write a duration between them", quote(text), minTimeout, maxTimeout)
	}
	return d
}

func (f fields) authentication() Authentication {
	return Authentication{
		SPF:         f.yes("spf"),
		DKIM:        f.yes("dkim"),
		Signatures:  f.signatures("dkim_signatures"),
		ReceivedSPF: f.receivedSPF("received_spf"),
	}
}

func (f fields) signatures(key string) int {
	text := f.text(key)
	if f.given(key) && f.off("dkim") {
		f.doubt(key, "this has no effect with dkim = no (line %d): remove it", f.line("dkim"))
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n < 1 || n > maxSignatures {
		f.problem(key, "%s is not a number between 1 and %d: %s", quote(text), maxSignatures, hintFor(text, "write one in digits"))
	}
	return int(n)
}

func (f fields) receivedSPF(key string) bool {
	add := f.yes(key)
	if add && f.off("spf") {
		f.problem(key, "this has no effect with spf = no (line %d): remove one of them", f.line("spf"))
	}
	return add
}

// dmarc reads what follows from a DMARC result. auth is the section
// [authentication], which says what DMARC can build on.
func (f fields) dmarc(key string, auth fields) policy.DMARCMode {
	mode := map[string]policy.DMARCMode{"off": policy.DMARCOff, "report": policy.DMARCReport, "enforce": policy.DMARCEnforce}[f.choice(key)]
	switch noDKIM := auth.off("dkim"); {
	case mode == policy.DMARCOff:
	case noDKIM && auth.off("spf"):
		f.problem(key, "without SPF and DKIM, DMARC knows nothing: set dkim = yes (%s:%d), or dmarc = off", auth.sec.file, auth.line("dkim"))
	case noDKIM && mode == policy.DMARCEnforce:
		f.problem(key, "without DKIM, enforce would refuse honest mail that was forwarded: set dkim = yes (%s:%d), or dmarc = report", auth.sec.file, auth.line("dkim"))
	case mode == policy.DMARCEnforce && auth.off("spf"):
		f.problem(key, "without SPF, enforce would refuse honest mail that is not signed: set spf = yes (%s:%d), or dmarc = report", auth.sec.file, auth.line("spf"))
	}
	return mode
}

// gatewayDMARC is the same for one gateway, or nil if it is not set.
func (f fields) gatewayDMARC(key string, auth fields) *policy.DMARCMode {
	if !f.given(key) {
		return nil
	}
	mode := f.dmarc(key, auth)
	return &mode
}

// authservID reads the name under which results are reported (RFC 8601, section
// 2.5).
func (f fields) authservID(key string) string {
	if !f.given(key) {
		return ""
	}
	name, err := parseDomain(f.text(key))
	if err != nil {
		f.problem(key, "%s is no host name: %s", quote(f.text(key)), err)
	}
	return name
}
