// Package doctor looks whether a host is set up as its configuration of gatemilter
// needs it: whether the files can be read by those who have to, and by no others, the
// sockets answer the mail server's user, Postfix or Sendmail is wired to them and offers the TLS that
// gateways must use, the MX records of each domain lead to its gateway (RFC 5321, section
// 5.1), name servers answer, mail hosts hold the TLS that is demanded of them, the database
// of users' addresses and the portal are in order, and the clock, by which certificates are
// judged, is right.
//
// It changes nothing, sends no mail, and never takes for good what it could not find out.
package doctor

import (
	"context"
	"crypto/x509"
	"sync"
	"time"

	"gatemilter/cmd/internal/postfix"
	"gatemilter/policy/config"
)

// A State is what a check has come to.
type State string

// Warn is for what is doubtful or could not be found out; mail goes on as it should.
const (
	OK   State = "ok"
	Warn State = "warn"
	Fail State = "fail"
)

// A Check is one thing that was looked at.
type Check struct {
	Subject string `json:"subject"`
	What    string `json:"what"` // was looked at
	State   State  `json:"state"`
	Found   string `json:"found"`
	// Fix is what to do where the state is not OK: a command for a shell, or else a
	// sentence with the line to write.
	Fix string `json:"fix,omitempty"`
}

// The subjects, in the order in which they are shown.
const (
	onConfiguration = "configuration"
	onFiles         = "files"
	onSockets       = "sockets"
	onPostfix       = "Postfix"
	onSendmail      = "Sendmail"
	onMX            = "MX records"
	onDNS           = "DNS"
	onCertificates  = "mail hosts"
	onIdentities    = "identities"
	onPortal        = "portal"
	onClock         = "clock"
)

func ok(subject, what, found string) Check { return Check{subject, what, OK, found, ""} }

func warn(subject, what, found, fix string) Check { return Check{subject, what, Warn, found, fix} }

func fail(subject, what, found, fix string) Check { return Check{subject, what, Fail, found, fix} }

// A Doctor knows what to look at, and by which means.
type Doctor struct {
	Config  string // path of the configuration
	Postfix postfix.Postfix
	// SendmailCF is Sendmail's configuration, looked at where there is no Postfix.
	SendmailCF string
	// Domains are looked at beside those that gateways name, in canonical form.
	Domains []string
	// Offline leaves out whatever leaves this host.
	Offline bool
	// TryAs runs Try as another user of this host; nil where that can't be done.
	TryAs func(ctx context.Context, a Account, s Socket) error
	// Built is when this program was; the zero time is not known.
	Built time.Time
	Now   func() time.Time
	// Synchronised says whether the system's clock is held to right time.
	Synchronised func() (bool, error)
	// Mechanisms are patterns of files, of which one is there where Postfix's client
	// can log in anywhere.
	Mechanisms []string
	// Roots are the authorities that users' browsers trust; nil are the system's.
	Roots *x509.CertPool
	// Identities reads the database of the configuration, as the user to whom it belongs.
	Identities func(context.Context) (Stock, error)
}

// limit bounds all that is asked over the network.
const limit = time.Minute

// An examination is what the checks of one run share.
type examination struct {
	*Doctor
	config *config.Config
	mta    mta
	// daemon is the user that gatemilter runs as, if that could be seen.
	daemon *Account
}

// Examine looks at everything, in the order in which it is shown. Where the configuration
// can't be used, nothing tells what to expect of the rest.
func (d *Doctor) Examine(ctx context.Context) []Check {
	cfg, checks := d.configuration()
	if cfg == nil {
		return append(checks, d.clock(nil)...)
	}
	x := &examination{Doctor: d, config: cfg, mta: lookAtPostfix(ctx, d.Postfix)}
	sockets := x.sockets(ctx)
	checks = append(checks, x.files()...)
	checks = append(checks, sockets...)
	checks = append(checks, x.wiring(ctx)...)
	checks = append(checks, x.identities(ctx)...)
	checks = append(checks, x.portal(ctx)...)
	if !d.Offline {
		checks = append(checks, x.network(ctx)...)
	}
	return append(checks, d.clock(cfg)...)
}

// network makes the checks that leave this host, all at once.
func (x *examination) network(ctx context.Context) []Check {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	subjects := []func(context.Context) []Check{x.mx, x.dns, x.certificates}
	return inParallel(len(subjects), func(i int) []Check { return subjects[i](ctx) })
}

// atOnce is how many questions of a subject are under way at a time.
const atOnce = 8

// inParallel runs n checks, a few at a time, and returns what they found in their order.
func inParallel(n int, check func(i int) []Check) []Check {
	found := make([][]Check, n)
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			found[i] = check(i)
		})
	}
	all.Wait()
	var checks []Check
	for _, f := range found {
		checks = append(checks, f...)
	}
	return checks
}
