package lab

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestStartTLS(t *testing.T) {
	authority, cert := must[*CA](t), must[*Cert](t)
	ca, stranger := authority(NewCA("Lab CA")), authority(NewCA("Other CA"))
	expired := Subject{CommonName: "old.example.org", NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	p := instance(t, Config{
		Mailboxes: []string{"@lab.test"},
		Cert:      cert(ca.Issue(Subject{Hosts: []string{"mx.lab.test", "127.0.0.1"}})),
		ClientCA:  ca,
		Main:      "smtpd_tls_received_header = yes\n",
		Services:  map[string]string{"submissions": "-o smtpd_tls_wrappermode=yes"},
	})
	for _, c := range []struct {
		name   string
		client *Cert
		want   string // in the Received header
	}{
		{"none@lab.test", nil, "(Client did not present a certificate)"},
		{"good@lab.test", cert(ca.Issue(Subject{CommonName: "gw.example.org"})), `(Client CN "gw.example.org", Issuer "Lab CA" (verified OK))`},
		{"expired@lab.test", cert(ca.Issue(expired)), `(Client CN "old.example.org", Issuer "Lab CA" (not verified))`},
		{"stranger@lab.test", cert(stranger.Issue(Subject{CommonName: "gw.example.org"})), `(Client CN "gw.example.org", Issuer "Other CA" (not verified))`},
		{"self@lab.test", cert(SelfSigned(Subject{CommonName: "gw.example.org"})), `(Client CN "gw.example.org", Issuer "gw.example.org" (not verified))`},
	} {
		s := session(t, p.Addr())
		accepted(t)(s.StartTLS(clientTLS(ca, c.client)))
		accepted(t)(s.Ehlo("client.test"))
		accepted(t)(s.XClient(Identity{Name: "after.tls.test"})) // TLS outlives a change of identity
		accepted(t)(s.Ehlo("client.test"))
		_, err := s.Send(Envelope{"x@client.test", []string{c.name}}, hello)
		noError(t, err)
		accepted(t)(s.Quit())
		noError(t, p.WaitIdle(t.Context()))
		all, err := p.Mailbox("@lab.test")
		noError(t, err)
		if got := all[len(all)-1].Values("Received")[0]; !strings.Contains(got, c.want) || !strings.Contains(got, "using TLSv1.2") {
			t.Errorf("%s: Received %q, want %q and TLSv1.2", c.name, got, c.want)
		}
	}
	implicit, err := DialTLS(t.Context(), p.ServiceAddr("submissions"), clientTLS(ca, nil))
	noError(t, err)
	accepted(t)(implicit.Ehlo("client.test"))
	accepted(t)(implicit.Quit())

	s := session(t, p.Addr())
	var unknown x509.UnknownAuthorityError
	if _, err := s.StartTLS(clientTLS(stranger, nil)); !errors.As(err, &unknown) {
		t.Errorf("server certificate of another authority: %v", err)
	}
}

// clientTLS trusts ca and bears cert, whatever authorities the server names. TLS 1.2 shows that versions can be chosen.
func clientTLS(ca *CA, cert *Cert) *tls.Config {
	config := &tls.Config{RootCAs: ca.Pool(), ServerName: "mx.lab.test", MaxVersion: tls.VersionTLS12}
	if cert != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert.TLS, nil }
	}
	return config
}

func TestWithoutCertificateThereIsNoStartTLS(t *testing.T) {
	p := instance(t, Config{})
	got, err := session(t, p.Addr()).StartTLS(nil)
	if want := (Reply{502, "5.5.1", "Error: command not implemented"}); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestLogins(t *testing.T) {
	authority, cert := must[*CA](t), must[*Cert](t)
	ca := authority(NewCA("Lab CA"))
	for _, chroot := range []bool{false, true} {
		p := instance(t, Config{
			Mailboxes: []string{"alice@lab.test"},
			Chroot:    chroot,
			Cert:      cert(ca.Issue(Subject{Hosts: []string{"mx.lab.test", "127.0.0.1"}})),
			Logins:    map[string]string{"alice@lab.test": "open sesame", "bob": "shut"},
		})
		for _, c := range []struct {
			user, password string
			ok             bool
		}{
			{"alice@lab.test", "open sesame", true},
			{"bob", "shut", true},
			{"alice@lab.test", "shut", false},
			{"carol", "shut", false},
			{"bob", "", false},
		} {
			s := session(t, p.Addr())
			accepted(t)(s.StartTLS(clientTLS(ca, nil)))
			accepted(t)(s.Ehlo("client.test"))
			if reply, err := s.Auth(c.user, c.password); err != nil || reply.OK() != c.ok {
				t.Errorf("%s with %q, chroot %v: %v, error %v", c.user, c.password, chroot, reply, err)
			}
		}
	}
}
