package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/auth/dnstest"
)

// A stage is a private Postfix with gatemilter, both running.
type stage struct {
	postfix *lab.Postfix
	ca      *lab.CA
	dns     *dnstest.Server
	config  string
	daemon  *exec.Cmd
	logRead chan struct{}

	mu  sync.Mutex
	log []logLine
}

// A logLine is what gatemilter logs about a message.
type logLine struct {
	Message  string   `json:"message"`
	Sender   string   `json:"sender"`
	Verdict  string   `json:"verdict"`
	SourceIP string   `json:"source_ip"`
	SPF      string   `json:"spf"`
	DMARC    string   `json:"dmarc"`
	Reasons  []string `json:"reasons"`
}

// A result is what became of a scene.
type result struct {
	scene
	answer    string
	delivered []lab.Message
	log       logLine
}

// newStage starts Postfix and gatemilter. The caller closes it.
func newStage(ctx context.Context, program string) (_ *stage, err error) {
	s := &stage{logRead: make(chan struct{})}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.dns, err = dnstest.Start(zone); err != nil {
		return nil, err
	}
	if s.ca, err = lab.NewCA("Demo CA"); err != nil {
		return nil, err
	}
	cert, err := s.ca.Issue(lab.Subject{CommonName: "mx.lab.test", Hosts: []string{"mx.lab.test"}})
	if err != nil {
		return nil, err
	}
	s.postfix, err = lab.Start(ctx, lab.Config{
		Mailboxes: []string{"user@example.com", "user@free.example"},
		Milter:    "unix:gatemilter/milter.sock",
		Cert:      cert,
		Chroot:    true,
	})
	if err != nil {
		return nil, err
	}
	return s, s.startDaemon(ctx, program)
}

// startDaemon runs gatemilter with its socket in Postfix's queue directory, which Postfix
// reaches chrooted too.
func (s *stage) startDaemon(ctx context.Context, program string) error {
	dir := filepath.Join(s.postfix.QueueDir(), "gatemilter")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	s.config = filepath.Join(s.postfix.ConfigDir(), "gatemilter.conf")
	server := fmt.Sprintf("milter = unix:%s/milter.sock\nsocket_group = postfix\n[log]\nformat = json\n", dir)
	text := settings(server, s.dns.Addr())
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return err
	}
	s.daemon = exec.Command(program, "serve", "--config", s.config)
	stderr, err := s.daemon.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.daemon.Start(); err != nil {
		s.daemon = nil
		return err
	}
	go s.readLog(stderr)
	_, err = s.logged(ctx, func(l logLine) bool { return l.Message == "started" })
	return err
}

func (s *stage) readLog(r io.Reader) {
	defer close(s.logRead)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var l logLine
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			fmt.Fprintln(os.Stderr, lines.Text())
			continue
		}
		s.mu.Lock()
		s.log = append(s.log, l)
		s.mu.Unlock()
	}
}

// logged waits for a line in gatemilter's log.
func (s *stage) logged(ctx context.Context, meant func(logLine) bool) (found logLine, err error) {
	err = lab.Until(ctx, "gatemilter's log", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.IndexFunc(s.log, meant)
		if i >= 0 {
			found = s.log[i]
		}
		return i >= 0
	})
	return found, err
}

func (s *stage) close() {
	if s.daemon != nil {
		s.daemon.Process.Signal(syscall.SIGTERM)
		<-s.logRead
		s.daemon.Wait()
	}
	if s.dns != nil {
		s.dns.Close()
	}
	if s.postfix != nil {
		if err := s.postfix.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
	}
}

// play sends the message of a scene and looks what became of it.
func (s *stage) play(ctx context.Context, sc scene) (result, error) {
	r := result{scene: sc}
	c, err := s.connect(ctx, sc)
	if err != nil {
		return r, err
	}
	defer c.Close()
	t, err := c.Send(lab.Envelope{From: sc.sender(), To: strings.Fields(sc.to)}, sc.message())
	if err != nil {
		return r, err
	}
	if _, err := c.Quit(); err != nil {
		return r, err
	}
	r.answer = answer(t)
	if err := s.postfix.WaitIdle(ctx); err != nil {
		return r, err
	}
	for _, to := range strings.Fields(sc.to) {
		messages, err := s.postfix.Mailbox(to)
		if err != nil {
			return r, err
		}
		for _, m := range messages {
			if slices.Equal(m.Values("Subject"), []string{sc.title}) {
				r.delivered = append(r.delivered, m)
			}
		}
	}
	r.log, err = s.logged(ctx, func(l logLine) bool { return l.Sender == sc.sender() })
	return r, err
}

// connect opens an SMTP session in the name of the scene's client.
func (s *stage) connect(ctx context.Context, sc scene) (*lab.Client, error) {
	c, err := lab.Dial(ctx, s.postfix.Addr())
	if err != nil {
		return nil, err
	}
	steps := []func() (lab.Reply, error){
		func() (lab.Reply, error) { return c.Ehlo("demo") },
		func() (lab.Reply, error) {
			return c.XClient(lab.Identity{Addr: sc.from.addr(), Name: sc.from.name, Login: sc.from.login})
		},
		func() (lab.Reply, error) { return c.Ehlo(sc.from.name) },
	}
	if sc.tls {
		steps = append(steps,
			func() (lab.Reply, error) {
				return c.StartTLS(&tls.Config{RootCAs: s.ca.Pool(), ServerName: "mx.lab.test"})
			},
			func() (lab.Reply, error) { return c.Ehlo(sc.from.name) })
	}
	for _, step := range steps {
		if r, err := step(); err != nil || !r.OK() {
			c.Close()
			return nil, fmt.Errorf("SMTP session: reply %v, error %v", r, err)
		}
	}
	return c, nil
}

// answer is the reply that decided the message, and those on refused recipients.
func answer(t lab.Transaction) string {
	if !t.Mail.OK() {
		return short(t.Mail)
	}
	var refused []string
	for _, r := range t.Rcpt {
		if !r.OK() {
			refused = append(refused, short(r))
		}
	}
	switch {
	case len(refused) == 0:
		return short(t.End)
	case len(refused) == len(t.Rcpt):
		return refused[0]
	}
	return short(t.End) + fmt.Sprintf("; %d of %d: %s", len(refused), len(t.Rcpt), refused[0])
}

func short(r lab.Reply) string {
	if r.OK() {
		return fmt.Sprint(r.Code, " taken")
	}
	return fmt.Sprintf("%d %s", r.Code, r.Enhanced)
}
