package tlsprobe

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"gatemilter/policy"
)

// Limits of host names in octets (RFC 1035, section 2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

// A Target is the mail host to be probed.
type Target struct {
	Host     string // a name, international ones as A-labels, or an IP address
	Port     uint16 // 25, 587, 1024 to 65535, or with Implicit 465
	Implicit bool   // TLS from the start instead of STARTTLS
	Clear    bool   // no TLS: only what the host offers in clear is looked at
	// SNI is the name that the handshake asks for (RFC 6066, section 3): a host with several
	// certificates chooses by it, and some of the largest providers show a useless one to who
	// names none. Empty: none is sent, as by Sendmail.
	SNI string
}

// ParseTarget reads HOST[:PORT], where an IPv6 address with a port stands in
// brackets, as every host may. The port is 25 if none is given, with implicit 465.
func ParseTarget(s string, implicit bool) (Target, error) {
	host, port, err := splitPort(s)
	if err != nil {
		return Target{}, err
	}
	t := Target{Host: host, Port: policy.PortSMTP, Implicit: implicit}
	if implicit {
		t.Port = policy.PortSubmissions
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return Target{}, fmt.Errorf("%q is no port: write a number such as 25 or 587", port)
		}
		t.Port = uint16(n)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		t.Host = ip.Unmap().String()
	} else {
		t.Host = policy.CanonicalDomain(host)
	}
	return t, t.Check()
}

// Asking is the target with SNI for its own name, if the client sends that and it has one: an
// address is none.
func (t Target) Asking(sni bool) Target {
	if _, err := netip.ParseAddr(t.Host); err != nil && sni {
		t.SNI = t.Host
	}
	return t
}

// ServerTarget is a user's own server, asked for by its name if the mail server does so.
func ServerTarget(g *policy.UserGateway, sni bool) Target {
	return Target{Host: g.Host, Port: g.Port, Implicit: g.TLS == policy.ImplicitTLS}.Asking(sni)
}

// splitPort separates a host from its port, which may be missing.
func splitPort(s string) (host, port string, err error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, rest, closed := strings.Cut(inner, "]")
		port, colon := strings.CutPrefix(rest, ":")
		if !closed || rest != "" && (!colon || port == "") {
			return "", "", fmt.Errorf("%q is no host with a port: write it as in [2001:db8::25]:587", s)
		}
		return host, port, nil
	}
	if strings.Count(s, ":") > 1 { // an IPv6 address
		return s, "", nil
	}
	host, port, colon := strings.Cut(s, ":")
	if colon && port == "" {
		return "", "", fmt.Errorf("%q has a colon but no port: write it as in relay.example.com:587", s)
	}
	return host, port, nil
}

// Check says what is wrong with a target; [Prober.Probe] does so too.
func (t Target) Check() error {
	if err := checkHost(t.Host); err != nil {
		return err
	}
	if t.SNI != "" && checkName(t.SNI) != nil {
		return fmt.Errorf("%q can't be asked for in a handshake: write a host name", t.SNI)
	}
	switch p := t.Port; {
	case t.Clear && t.Implicit:
		return errors.New("a host can't be probed in clear and with TLS from the start at once: choose one")
	case p == policy.PortSubmissions && !t.Implicit:
		return errors.New("port 465 is for TLS from the start, which a route can't use: take 25 or 587, or look at it with --implicit")
	case p != policy.PortSubmissions && !policy.IsRoutePort(p):
		return fmt.Errorf("port %d is not for mail: use 25, 587, or one from 1024 to 65535", p)
	}
	return nil
}

func checkHost(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return fmt.Errorf("%q has a zone: write the address without it", host)
		}
		return nil
	}
	return checkName(host)
}

func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("%.64q… is no host name: it has %d octets, at most %d are allowed", name, len(name), maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || strings.Trim(label, nameOctets) != "" || strings.Trim(label, "-") != label {
			return fmt.Errorf("%q is no host name: write one such as relay.example.com, or an IP address", name)
		}
	}
	if strings.Trim(name[strings.LastIndexByte(name, '.')+1:], "0123456789") == "" {
		return fmt.Errorf("%q is neither a host name nor a complete IP address: write one of these", name)
	}
	return nil
}

// nameOctets are what the labels of host names are made of, in practice.
const nameOctets = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
