package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"gatemilter/policy"
)

// parseTableHost reads "HOST:PORT LOAD".
func parseTableHost(s string) (policy.Host, error) {
	words := strings.Fields(s)
	switch {
	case hintFor(s, "") != "":
		return policy.Host{}, fmt.Errorf("%s is no host with its load: %s", quote(s), hintFor(s, ""))
	case len(words) == 1:
		return policy.Host{}, fmt.Errorf("%s has no load: write the host's share of the mail in percent behind it, as in %s", quote(s), literally(s+" 50"))
	case len(words) > 2:
		return policy.Host{}, fmt.Errorf("%s is more than a host and its load: put commas between the hosts", quote(s))
	}
	h, err := parseHost(words[0])
	if err != nil {
		return policy.Host{}, err
	}
	h.Load, err = strconv.Atoi(words[1])
	switch {
	case err != nil && strings.HasSuffix(words[1], "%"):
		return policy.Host{}, fmt.Errorf("the load %s of %s has a %%: write the number alone", quote(words[1]), quote(words[0]))
	case err != nil:
		return policy.Host{}, fmt.Errorf("the load %s of %s is no whole number: write one from 1 to %d", quote(words[1]), quote(words[0]), wholeLoad)
	case h.Load == 0:
		return policy.Host{}, fmt.Errorf("the load of %s is 0, so it would get no mail: write it into secondary, or remove it", quote(words[0]))
	case h.Load < 1 || h.Load > wholeLoad:
		return policy.Host{}, fmt.Errorf("the load %s of %s is not between 1 and %d: write its share of the mail in percent", quote(words[1]), quote(words[0]), wholeLoad)
	}
	return h, nil
}

// parseHost reads "HOST" or "HOST:PORT", where an IPv6 address stands in
// brackets. Whatever it accepts, Postfix's smtp client takes: a nexthop that it can't
// read ends that client's process at every attempt.
func parseHost(s string) (policy.Host, error) {
	name, port, hasPort := splitPort(s)
	h := policy.Host{Port: policy.PortSMTP}
	var err error
	if h.Name, err = hostName(name); err != nil {
		return policy.Host{}, fmt.Errorf("%s is no host: %w", quote(s), err)
	}
	if hasPort {
		if h.Port, err = hostPort(port); err != nil {
			return policy.Host{}, fmt.Errorf("%s has the port %s: %w", quote(s), quote(port), err)
		}
	}
	return h, nil
}

// splitPort cuts off what stands behind the only colon, or behind the one that
// follows a bracket. In a URL, there is no port to find.
func splitPort(s string) (name, port string, ok bool) {
	if address, behind, found := strings.Cut(s, "]"); found && strings.HasPrefix(behind, ":") {
		return address + "]", behind[1:], true
	}
	if strings.Count(s, ":") == 1 && !strings.Contains(s, "//") {
		return strings.Cut(s, ":")
	}
	return s, "", false
}

func hostPort(s string) (uint16, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	switch {
	case err != nil:
		return 0, errors.New("write a number, 25, 587, or from 1024 to 65535")
	case port == policy.PortSubmissions:
		return 0, errors.New("TLS from the start is for user gateways, and a route uses STARTTLS; write 587 or 25")
	case !policy.IsRoutePort(uint16(port)):
		return 0, errors.New("it is not one of a mail host's; write 25, 587, or one from 1024 to 65535")
	}
	return uint16(port), nil
}

// hostName reads the name or address of a host.
func hostName(s string) (string, error) {
	inner, brackets := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if brackets && closed {
		return literalAddress(inner)
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Is6() {
			return "", fmt.Errorf("an IPv6 address needs brackets; write [%s], or [%s]:%d", ip.WithZone(""), ip.WithZone(""), policy.PortSMTP)
		}
		return hostAddress(ip)
	}
	switch scheme, rest, _ := strings.Cut(s, ":"); {
	case strings.HasPrefix(rest, "//"):
		return "", errors.New("it is a URL; write only the host, as in mail.example.com:25")
	case strings.ContainsAny(rest, "[]") && isName(scheme):
		return "", errors.New("it begins with a transport; write only the host, as in mail.example.com:25")
	case octetTooLarge(s) && isNumeric(s):
		return "", errors.New("the numbers of an address go up to 255; correct it")
	}
	name, err := parseDomain(s)
	if err == nil && isNumeric(name[strings.LastIndexByte(name, '.')+1:]) {
		return "", errors.New("it is neither an address nor a name, whose last part is never a number; write it in full, as in 192.0.2.1 or mail.example.com")
	}
	return name, err
}

// literalAddress reads what stands in brackets.
func literalAddress(s string) (string, error) {
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") && isAddress(s[5:]) {
		return "", fmt.Errorf("write the address without IPv6:, as in [%s]", s[5:])
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Is4() {
		return "", fmt.Errorf("only an IPv6 address stands in brackets; write %s", literally(s))
	}
	return hostAddress(ip)
}

// hostAddress returns an address in its usual form, if one host can have it.
func hostAddress(ip netip.Addr) (string, error) {
	switch {
	case ip.Zone() != "":
		return "", fmt.Errorf("it has a zone; write the address alone, [%s]", ip.WithZone(""))
	case ip.Unmap().IsUnspecified(), ip.Unmap().IsMulticast(), ip.Unmap() == broadcast:
		return "", errors.New("it is not the address of one host; write that of a mail host")
	}
	return ip.Unmap().String(), nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// isNumeric says whether s has only digits and points, as no name has.
func isNumeric(s string) bool { return strings.Trim(s, "0123456789.") == "" }

// isLoopback says whether a host is this one, by address or by name (RFC 6761,
// section 6.3).
func isLoopback(name string) bool {
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.IsLoopback() || name == "localhost" || strings.HasSuffix(name, ".localhost")
}
