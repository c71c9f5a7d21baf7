package tlsprobe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// own are the interfaces of the tests' host.
func own() ([]net.Addr, error) {
	ip4 := &net.IPNet{IP: net.ParseIP("8.8.4.4"), Mask: net.CIDRMask(24, 32)}
	ip6 := &net.IPNet{IP: net.ParseIP("2606:4700::7"), Mask: net.CIDRMask(64, 128)}
	return []net.Addr{ip4, ip6}, nil
}

// U7: every form of every address that is not of the public Internet.
func TestPublicAddresses(t *testing.T) {
	for _, inside := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.171", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255",
		"198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.4.4", "::ffff:0:127.0.0.1", "::8.8.8.8", "100::1",
		"64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::8.8.4.4", "64:ff9b:1::8.8.8.8",
		"2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff::1", "2001:db8::1",
		"2002:7f00:1::", "2002:a00:1::1", "2002:808:808::", "3fff::1", "5f00::1", "4000::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
		"8.8.4.4", "2606:4700::7",
	} {
		err := checkPublic(netip.MustParseAddr(inside), nil, own)
		var f Finding
		if !errors.As(err, &f) || f.Problem != Inside {
			t.Errorf("%s: %v", inside, err)
		}
	}
	for _, outside := range []string{"8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "223.255.255.255", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::8", "2a00:1450::1", "2001:4860::1"} {
		if err := checkPublic(netip.MustParseAddr(outside), nil, own); err != nil {
			t.Errorf("%s: %v", outside, err)
		}
	}
	if err := checkPublic(netip.Addr{}, nil, own); err == nil {
		t.Error("no address is public")
	}
	if err := checkPublic(netip.MustParseAddr("8.8.8.8"), nil, func() ([]net.Addr, error) { return nil, errors.New("none") }); err == nil {
		t.Error("what can't be compared with our own addresses is public")
	}
}

// The administrator may list networks, also those of this host.
func TestPublicAllowed(t *testing.T) {
	allowed := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32"), netip.MustParsePrefix("8.8.4.4/32")}
	for address, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "10.2.0.1": false, "fd00:1::1": true, "fd00:2::1": false, "8.8.4.4": true, "2002:a01:203::1": false,
	} {
		if err := checkPublic(netip.MustParseAddr(address), allowed, own); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// U7: the dialler sends nothing where it refuses, and takes no names.
func TestPublicOnly(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	dial := PublicOnly(nil)
	for _, address := range []string{l.Addr().String(), "localhost:25", "[::1]:25", "127.1:25", "2130706433:25", "0x7f000001:25", "8.8.8.8", ""} {
		conn, err := dial(t.Context(), "tcp", address)
		var f Finding
		if conn != nil || !errors.As(err, &f) || f.Problem != Inside {
			t.Errorf("%q: %v, %v", address, conn, err)
		}
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Millisecond))
	if conn, err := l.Accept(); err == nil {
		t.Errorf("%v came", conn.RemoteAddr())
	}
	l.(*net.TCPListener).SetDeadline(time.Time{})
	conn, err := PublicOnly([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// U7: a host with one address inside is not connected to at the others either: Postfix, which is
// told that the host may be used, would choose any of them.
func TestRefuseInside(t *testing.T) {
	var dialled int
	p := prober()
	p.Dial = func(context.Context, string, string) (net.Conn, error) {
		dialled++
		return nil, errors.New("not here")
	}
	p.Refuse = RefuseInside([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")})
	for _, c := range []struct {
		host    string
		found   []string
		problem Problem
	}{
		{"both.example", []string{"8.8.0.1", "10.0.0.1"}, Inside},
		{"many.example", []string{"8.8.0.1", "8.8.0.2", "8.8.0.3", "8.8.0.4", "8.8.0.5", "8.8.0.6", "::1"}, Inside},
		{"127.0.0.1", nil, Inside},
		{"public.example", []string{"8.8.0.1", "2001:4860::1"}, ConnectionFailed},
		{"allowed.example", []string{"8.8.0.1", "10.1.0.1"}, ConnectionFailed},
	} {
		p.Lookup = func(context.Context, string) (found []netip.Addr, err error) {
			for _, ip := range c.found {
				found = append(found, netip.MustParseAddr(ip))
			}
			return found, nil
		}
		dialled = 0
		report, err := p.Probe(t.Context(), Target{Host: c.host, Port: 587}, pool())
		if err != nil || report.TLS.Problem != c.problem || (c.problem == Inside) != (dialled == 0) {
			t.Errorf("%s: %+v, %v, %d dialled", c.host, report.TLS, err, dialled)
		}
	}
}

// U7: a name is looked up once; what DNS says afterwards is not asked (rebinding).
func TestPublicRebinding(t *testing.T) {
	var asked int
	p := prober()
	p.Dial = PublicOnly(nil)
	p.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		asked++
		return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("10.0.0.1")}, nil
	}
	report, err := p.Probe(t.Context(), Target{Host: "rebound.example", Port: 587}, pool())
	if err != nil || asked != 1 || report.TLS.Problem != Inside || report.Address.IsValid() {
		t.Errorf("%+v, %v, asked %d times", report.TLS, err, asked)
	}
}
