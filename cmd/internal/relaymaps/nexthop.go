package relaymaps

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gatemilter/policy"
	"gatemilter/policy/config"
)

// A nexthop is a host as Postfix's smtp client is told it.
type nexthop struct {
	host string // a name in lower case, or an address, as config has it
	port uint16
	mx   bool // it is a domain, whose MX hosts are meant
}

// services are the ports of mail in services(5).
var services = map[string]uint16{"smtp": 25, "mail": 25, "submission": 587, "submissions": 465, "smtps": 465, "urd": 465}

// parseNexthop reads [HOST], [HOST]:PORT, DOMAIN or DOMAIN:PORT.
func parseNexthop(s string) (n nexthop, err error) {
	name, service := s, ""
	if inner, ok := strings.CutPrefix(s, "["); ok {
		var behind string
		name, behind, ok = strings.Cut(inner, "]")
		service = strings.TrimPrefix(behind, ":")
		if !ok || behind != "" && (service == "" || service == behind) {
			return n, fmt.Errorf("%q is no host: write it as in [smtp.partner.example]:587", s)
		}
		if strings.Contains(name, ":") { // an IPv6 address, which config wants in brackets
			name = "[" + strings.TrimPrefix(lower(name), "ipv6:") + "]"
		}
	} else {
		n.mx = true
		if strings.Count(s, ":") == 1 {
			name, service, _ = strings.Cut(s, ":")
		}
	}
	if n.port, err = portOf(service); err != nil {
		return n, fmt.Errorf("%q has a port that is not known here: %w", s, err)
	}
	// The port is in order, so any one shows what is wrong with the host.
	n.host, _, err = config.ParseUserServer(name, policy.STARTTLS)
	return n, err
}

func portOf(service string) (uint16, error) {
	if service == "" {
		return policy.PortSMTP, nil
	}
	if port, ok := services[service]; ok {
		return port, nil
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return 0, errors.New("write it as a number, such as 587")
	}
	return uint16(port), nil
}

// tls is the kind of TLS at a port.
func (n nexthop) tls() policy.UserTLS {
	if n.port == policy.PortSubmissions {
		return policy.ImplicitTLS
	}
	return policy.STARTTLS
}
