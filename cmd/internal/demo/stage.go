package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/auth/dnstest"
)

// A stage is a private Postfix with gatemilter, both running.
type stage struct {
	postfix *lab.Postfix
	ca      *lab.CA
	hosts   mailHosts // by which mail leaves; nil for incoming mail
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
	Login    string   `json:"login"`
	Sender   string   `json:"sender"`
	Verdict  string   `json:"verdict"`
	SourceIP string   `json:"source_ip"`
	SPF      string   `json:"spf"`
	DMARC    string   `json:"dmarc"`
	Reasons  []string `json:"reasons"`
}

// newStage starts a Postfix as in c, with a certificate of the authority, and gatemilter with
// these rules. The caller closes it.
func newStage(ctx context.Context, program string, ca *lab.CA, c lab.Config, rules string) (_ *stage, err error) {
	if c.Cert, err = ca.Issue(lab.Subject{CommonName: "mx.lab.test", Hosts: []string{"mx.lab.test"}}); err != nil {
		return nil, err
	}
	s, err := newStageOf(ctx, ca, c)
	if err != nil {
		return nil, err
	}
	if err = s.startDaemon(ctx, program, rules); err == nil {
		err = s.setUp(ctx, program)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// newStageOf starts a Postfix as in c, and no gatemilter yet.
func newStageOf(ctx context.Context, ca *lab.CA, c lab.Config) (_ *stage, err error) {
	s := &stage{ca: ca, logRead: make(chan struct{})}
	if s.dns, err = dnstest.Start(zone); err != nil {
		return nil, err
	}
	c.Chroot = true
	if s.postfix, err = lab.Start(ctx, c); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stage) sockets() string { return filepath.Join(s.postfix.QueueDir(), "gatemilter") }

// startDaemon runs gatemilter with its sockets in Postfix's queue directory, which Postfix
// reaches chrooted too.
func (s *stage) startDaemon(ctx context.Context, program, rules string) error {
	dir := s.sockets()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	s.config = filepath.Join(s.postfix.ConfigDir(), "gatemilter.conf")
	server := fmt.Sprintf("milter = unix:%[1]s/milter.sock\nlookup = unix:%[1]s/lookup.sock\nadmin = unix:%[1]s/admin.sock\nsocket_group = postfix\n[log]\nformat = json\n", dir)
	text := settings(server, s.dns.Addr(), rules)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return err
	}
	s.daemon = exec.Command(program, "serve", "--config", s.config)
	s.daemon.Env = s.trusting()
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

// setUp tells Postfix of gatemilter, as the administrator would.
func (s *stage) setUp(ctx context.Context, program string) error {
	cmd := exec.CommandContext(ctx, program, "mta-setup", "postfix", "--postfix-config", s.postfix.ConfigDir(), "--config", s.config, "--apply")
	cmd.Env = s.trusting()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("mta-setup: %w: %s", err, out)
	}
	return s.postfix.Reload(ctx)
}

// trusting is an environment in which the demo's authority stands for those that the system
// trusts.
func (s *stage) trusting() []string {
	return append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(s.postfix.QueueDir(), "etc/ca.pem"))
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
