package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"gatemilter/cmd/internal/lab"
)

// The benchmark behind a real Postfix:
//
//	go test -run '^$' -bench Postfix ./cmd/gatemilter
//
// The same signed messages pass the same Postfix, without a milter, with gatemilter,
// and with Debian's OpenDKIM and OpenDMARC. These know no gateways: they see the
// source as their client, while gatemilter finds it behind one.

const (
	benchConnections = 8
	benchMessages    = 40 // on each connection, in a round
	benchRounds      = 7  // of which the median counts
	benchDomains     = 40
)

// A variant is what Postfix asks about its mail.
type variant struct {
	name, milters string
	client        string // in the eyes of Postfix
	// reports are how what it says of a message begins, the last on top.
	reports []string
	pids    []int
	rate    []float64 // messages a second, by round
	cpu     []float64 // of the milters, in seconds a message
}

func benchVariants() []*variant {
	const (
		source  = "198.51.100.7"
		gateway = "192.0.2.2"
	)
	return []*variant{
		{name: "no milter", client: source},
		{name: "gatemilter", milters: "unix:gatemilter/milter.sock", client: gateway,
			reports: []string{authservID + " spf=pass dkim=pass dmarc=pass"}},
		{name: "OpenDKIM, OpenDMARC", milters: "unix:opendkim/milter.sock,unix:opendmarc/milter.sock", client: source,
			reports: []string{"opendmarc.lab.test dmarc=pass", "opendmarc.lab.test spf=pass", "opendkim.lab.test dkim=pass"}},
	}
}

func BenchmarkPostfix(b *testing.B) {
	if err := lab.NeedPackages(b.Context(), b.Logf, "postfix", "opendkim", "opendkim-tools", "opendmarc"); err != nil {
		b.Fatal(err)
	}
	variants := benchVariants()
	p := benchPostfix(b, variants)
	messages := p.prepare(variants)
	for _, v := range variants {
		p.checkWork(v, messages[0])
		p.round(v, messages) // warms caches up
	}
	b.ResetTimer()
	for range max(b.N, benchRounds) {
		for _, v := range variants {
			p.measure(v, messages)
		}
	}
	b.StopTimer()
	for _, v := range variants {
		b.ReportMetric(median(v.rate), service(v)+"-msg/s")
	}
	b.ReportMetric(0, "ns/op") // an operation is a round of all variants, which says nothing
	compare(variants)
}

// A benchSite is a Postfix with a service for each variant.
type benchSite struct {
	*lab.Postfix
	b *testing.B
}

func benchPostfix(b *testing.B, variants []*variant) *benchSite {
	b.Helper()
	cfg := lab.Config{
		Mailboxes: []string{"user@example.com", "signed@author.example"},
		Services:  map[string]string{"signer": "-o smtpd_milters=unix:signer/milter.sock"},
		Main: "relay_domains = discard.example\ntransport_maps = inline:{ discard.example=discard: }\n" +
			"in_flow_delay = 0\n", // else mail waits for the deliveries before it
	}
	for _, v := range variants {
		cfg.Services[service(v)] = "-o smtpd_milters=" + v.milters
	}
	return &benchSite{startPostfix(b, cfg), b}
}

// service is the name of a variant's SMTP server.
func service(v *variant) string { return strings.NewReplacer(", ", "+", " ", "-").Replace(v.name) }

func (s *benchSite) check(err error) {
	s.b.Helper()
	if err != nil {
		s.b.Fatal(err)
	}
}

// prepare starts the milters and the DNS, and signs the messages: one of each
// domain, of 4 to 10 KiB.
func (s *benchSite) prepare(variants []*variant) []string {
	key := must(lab.NewRSAKey(s.b.Context(), "author.example", "bench", 2048))
	var zone strings.Builder
	var domains []string
	fmt.Fprintln(&zone, ". SOA ns.example. admin.example. 1 3600 600 86400 300")
	for i := range benchDomains {
		domain := benchDomain(i)
		domains = append(domains, domain)
		fmt.Fprintf(&zone, "%s TXT \"v=spf1 mx ip4:203.0.113.0/24 ip4:198.51.100.7 -all\"\n%s MX 10 mail.%s\nmail.%s A 203.0.113.5\n_dmarc.%s TXT \"v=DMARC1; p=reject; rua=mailto:d@%s\"\n%s\n",
			domain, domain, domain, domain, domain, domain, strings.Replace(key.Record, "author.example", domain, 1))
	}
	dns := startDNS(s.b, zone.String())
	server := netip.MustParseAddrPort(dns.Addr()).Addr()
	signer := lab.Signer(lab.Signature{Domain: strings.Join(domains, ","), Selector: "bench", Key: key.Private, Algorithm: "rsa-sha256", Canonicalization: "relaxed/simple"})
	s.startFilter("signer", signer, server)
	variants[1].pids = []int{s.startGatemilter(dns.Addr())}
	variants[2].pids = []int{
		s.startFilter("opendkim", lab.Verifier("opendkim.lab.test"), server),
		s.startFilter("opendmarc", lab.OpenDMARC("opendmarc.lab.test", "opendkim.lab.test", true), server),
	}
	var messages []string
	for i := range benchDomains {
		messages = append(messages, s.sign(i))
	}
	return messages
}

func benchDomain(i int) string { return fmt.Sprintf("author%d.example", i) }

func (s *benchSite) startFilter(name string, f lab.Filter, dns netip.Addr) (pid int) {
	r, err := s.StartFilter(s.b.Context(), name, f, dns)
	s.check(err)
	s.b.Cleanup(func() { s.check(r.Stop()) })
	return r.PID()
}

// startGatemilter starts it with everything on.
func (s *benchSite) startGatemilter(dns string) (pid int) {
	dir := filepath.Join(s.QueueDir(), "gatemilter")
	s.check(os.Mkdir(dir, 0o755))
	text := fmt.Sprintf("[server]\nmilter = unix:%s/milter.sock\nsocket_group = postfix\nauthserv_id = %s\n[log]\nformat = json\n[dns]\nservers = %s\n"+
		"[inbound-gateway filter]\naddresses = 192.0.2.2, 192.0.2.55\nreject_other = yes\nspam_header = ^X-(?:spam|phishy): (0\\.\\d*|1\\.0*)$\nspam_score = 0.50\n",
		dir, authservID, dns)
	config := filepath.Join(dir, "gatemilter.conf")
	s.check(os.WriteFile(config, []byte(text), 0o600))
	cmd := exec.Command("gatemilter", "serve", "--config", config)
	log := must(os.Create(filepath.Join(dir, "log")))
	cmd.Stderr = log
	s.check(startAsUnit(cmd))
	s.b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		s.check(cmd.Wait())
		s.check(log.Close())
	})
	s.check(lab.Until(s.b.Context(), "gatemilter to listen", func() bool {
		_, err := os.Stat(filepath.Join(dir, "milter.sock"))
		return err == nil
	}))
	return cmd.Process.Pid
}

// sign makes a message of a domain, and signs it.
func (s *benchSite) sign(i int) string {
	author := "alice@" + benchDomain(i)
	var b strings.Builder
	fmt.Fprintf(&b, "From: Alice <%s>\nTo: user@example.com\nSubject: message %d\nMessage-ID: <%d@%s>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nX-Spam: 0.12\n\n",
		author, i, i, benchDomain(i))
	for b.Len() < 4<<10+i*(6<<10)/benchDomains {
		fmt.Fprintf(&b, "%s, line of a message of %s.\n", strings.Repeat("word ", 8), author)
	}
	s.send("signer", lab.Identity{}, lab.Envelope{From: author, To: []string{"signed@author.example"}}, b.String())
	raw := s.newest("signed@author.example").Raw
	return hop("mail."+benchDomain(i), "198.51.100.7") + "\n" + raw[strings.Index(raw, "\nDKIM-Signature:")+1:]
}

// newest is the last message that came into a mailbox.
func (s *benchSite) newest(mailbox string) lab.Message {
	s.check(s.WaitIdle(s.b.Context()))
	all := must(s.Mailbox(mailbox))
	return all[len(all)-1]
}

// send sends one message on a connection of its own.
func (s *benchSite) send(service string, id lab.Identity, e lab.Envelope, message string) {
	client, err := s.connect(service, id)
	s.check(err)
	defer client.Close()
	s.check(sendOn(client, e, message))
}

func (s *benchSite) connect(service string, id lab.Identity) (*lab.Client, error) {
	client, err := lab.Dial(s.b.Context(), s.ServiceAddr(service))
	if err != nil {
		return nil, err
	}
	_, err = client.Ehlo("mail.author.example")
	if err == nil && id.Addr.IsValid() {
		_, err = client.XClient(id)
	}
	if err == nil {
		_, err = client.Ehlo("mail.author.example")
	}
	return client, err
}

func sendOn(client *lab.Client, e lab.Envelope, message string) error {
	t, err := client.Send(e, message)
	if err == nil && !t.End.OK() {
		err = fmt.Errorf("not accepted: %v", t)
	}
	return err
}

// checkWork fails unless the variant reports on a message what it should.
func (s *benchSite) checkWork(v *variant, message string) {
	s.send(service(v), v.identity(), lab.Envelope{From: "alice@" + benchDomain(0), To: []string{"user@example.com"}}, message)
	m := s.newest("user@example.com")
	var got []string
	for _, value := range m.Values("Authentication-Results") {
		id, _, _ := strings.Cut(value, ";")
		got = append(got, id+" "+inShort(value))
	}
	if !slices.EqualFunc(got, v.reports, strings.HasPrefix) {
		s.b.Fatalf("%s reports %q, want %q, in\n%s", v.name, got, v.reports, m.Raw)
	}
}

func (v *variant) identity() lab.Identity {
	return lab.Identity{Addr: netip.MustParseAddr(v.client), Name: "mail.author.example"}
}

// measure takes rate and CPU time of a round.
func (s *benchSite) measure(v *variant, messages []string) {
	cpu, start := s.used(v), time.Now()
	s.round(v, messages)
	v.rate = append(v.rate, benchConnections*benchMessages/time.Since(start).Seconds())
	s.check(s.WaitIdle(s.b.Context()))
	v.cpu = append(v.cpu, (s.used(v)-cpu).Seconds()/(benchConnections*benchMessages))
}

// used is the CPU time that the milters have used up.
func (s *benchSite) used(v *variant) time.Duration {
	var sum time.Duration
	for _, pid := range v.pids {
		used, err := lab.CPUTime(pid)
		s.check(err)
		sum += used
	}
	return sum
}

// round sends the messages over all connections at once.
func (s *benchSite) round(v *variant, messages []string) {
	failed := make(chan error, benchConnections)
	for c := range benchConnections {
		go func() { failed <- s.converse(v, messages, c) }()
	}
	for range benchConnections {
		s.check(<-failed)
	}
}

// converse sends messages on one connection, which has its number.
func (s *benchSite) converse(v *variant, messages []string, number int) error {
	client, err := s.connect(service(v), v.identity())
	if err != nil {
		return err
	}
	defer client.Close()
	for m := range benchMessages {
		i := (number + m*benchConnections) % len(messages)
		e := lab.Envelope{From: "alice@" + benchDomain(i), To: []string{"user@discard.example"}}
		if err := sendOn(client, e, messages[i]); err != nil {
			return err
		}
	}
	_, err = client.Quit()
	return err
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// compare prints the medians, and how gatemilter is beside the others.
func compare(variants []*variant) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\t messages/s\t milter CPU/message\t")
	for _, v := range variants {
		fmt.Fprintf(w, "%s\t %.0f\t %.2f ms\t\n", v.name, median(v.rate), 1000*median(v.cpu))
	}
	ours, theirs := variants[1], variants[2]
	fmt.Fprintf(w, "gatemilter : OpenDKIM, OpenDMARC\t %.2f\t %.2f\t\n", median(ours.rate)/median(theirs.rate), median(ours.cpu)/median(theirs.cpu))
	w.Flush()
}

// startAsUnit starts a process with the timer slack that packaging/systemd/gatemilter.service
// gives it. It inherits that of the thread that starts it.
func startAsUnit(cmd *exec.Cmd) error {
	const (
		setTimerSlack = 29 // PR_SET_TIMERSLACK
		slack         = time.Millisecond
	)
	// The thread ends with the goroutine, since it stays locked.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, uintptr(slack), 0); errno != 0 {
			done <- errno
			return
		}
		done <- cmd.Start()
	}()
	return <-done
}
