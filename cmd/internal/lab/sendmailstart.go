package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// StartSendmail runs a new instance. When it returns without an error, all ports are bound. It needs a Sendmail, from
// [NeedSendmail], and a host name with a dot, as there is in isolation: see [EnterIsolation].
func StartSendmail(ctx context.Context, c SendmailConfig) (_ *Sendmail, err error) {
	name, err := os.Hostname()
	if err := errors.Join(err, needRoot(), checkHostName(name), c.check()); err != nil {
		return nil, err
	}
	s := &Sendmail{config: c, hasIPv6: listensOn("[::1]:0")}
	if s.libraries, err = sendmailLibraryPath(); err != nil {
		return nil, err
	}
	if s.dir, s.temporary, err = newSendmailDir(c.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if err := s.fill(); err != nil {
		return nil, err
	}
	if s.saslauthd, err = startSaslauthd(s.sasl(), nil); err != nil {
		return nil, fmt.Errorf("%w: an instance runs in %q, or was killed there: choose another Dir", err, s.dir)
	}
	for range startTries {
		logged := len(s.Log())
		if err = s.startOnce(ctx); err == nil {
			return s, nil
		}
		if !strings.Contains(s.Log()[logged:], "Address already in use") {
			break
		}
		if err := errors.Join(s.terminate(), os.Truncate(s.maillog(), int64(logged))); err != nil { // the complaint is dealt with
			return nil, err
		}
	}
	return nil, fmt.Errorf("starting a private Sendmail: %w\n%s", err, s.Log())
}

// checkHostName refuses a name for which Sendmail waits a minute at each start.
func checkHostName(name string) error {
	if strings.Contains(name, ".") {
		return nil
	}
	return fmt.Errorf("host name %q has no dot, and Sendmail would wait a minute for a better one: call EnterIsolation first", name)
}

// listensOn says whether one can listen on a port of loopback.
func listensOn(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// newSendmailDir makes dir, or a temporary directory.
func newSendmailDir(dir string) (abs string, temporary bool, err error) {
	if dir == "" {
		temporary = true
		dir, err = os.MkdirTemp(labCache, "sendmail-")
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", false, err
	}
	return dir, temporary, os.Chmod(dir, 0o755) // MkdirTemp's are for their owner alone
}

// fill makes the directories of the instance, and what does not change when it is rebuilt.
func (s *Sendmail) fill() error {
	dirs := []struct {
		name string
		mode os.FileMode
		uid  int
	}{
		{s.etc(), 0o755, 0}, {s.queue(), 0o700, 0}, {s.sockets(), 0o755, 0}, {s.mail(), 0o700, nobody},
	}
	for _, d := range dirs {
		err := errors.Join(os.MkdirAll(d.name, d.mode), os.Chmod(d.name, d.mode), os.Chown(d.name, d.uid, -1))
		if err != nil {
			return err
		}
	}
	if s.config.Cert != nil {
		if err := s.config.Cert.WriteFile(s.cert()); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(s.dir, "statistics"), nil, 0o644), // else every process complains
		os.WriteFile(s.deliver(), []byte(deliverScript), 0o755), os.Chmod(s.deliver(), 0o755),
	)
}

// startOnce chooses a port and tries it.
func (s *Sendmail) startOnce(ctx context.Context) error {
	addrs, err := freeAddrs(1)
	if err != nil {
		return err
	}
	s.addr = addrs[0]
	if err := s.build(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

// build makes sendmail.cf, by m4, and the table of aliases.
func (s *Sendmail) build(ctx context.Context) error {
	for name, text := range s.config.files(s.sendmailLayout, s.port(), s.hasIPv6) {
		if err := errors.Join(os.WriteFile(name, []byte(text), 0o644), os.Chmod(name, 0o644)); err != nil {
			return err
		}
	}
	cf, err := expand(command(ctx, sendmailM4, "-D_CF_DIR_="+sendmailCF, sendmailCF+"m4/cf.m4", s.mc()))
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.cf(), cf, 0o644); err != nil {
		return err
	}
	return run(s.Command(ctx, "-bi"), nil)
}

// mcMistake is how Sendmail's macros and m4 itself tell a mistake, after which they go on. (A warning is no mistake: they
// warn of the open relay.)
var mcMistake = regexp.MustCompile(`(?m)^\*\*\* ERROR|m4:`)

// expand runs m4.
func expand(cmd *exec.Cmd) ([]byte, error) {
	var complaints strings.Builder
	cmd.Stderr = &complaints
	text, err := cmd.Output()
	if err == nil && mcMistake.MatchString(complaints.String()) {
		err = errors.New("mistakes")
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w: correct the .mc text: %s", cmd.Args, err, strings.TrimSpace(complaints.String()))
	}
	return text, nil
}

// run starts the daemon and waits until it listens, or has failed.
func (s *Sendmail) run(ctx context.Context) error {
	s.output, s.ended = &lockedBuffer{}, make(chan struct{})
	s.daemon = s.Command(context.WithoutCancel(ctx), "-bD")
	s.daemon.Stdout, s.daemon.Stderr = s.output, s.output
	if err := s.daemon.Start(); err != nil {
		s.daemon = nil
		return err
	}
	go func(daemon *exec.Cmd, ended chan struct{}) { daemon.Wait(); close(ended) }(s.daemon, s.ended)
	logged := len(s.Log())
	failed := func() bool { return s.hasEnded() || strings.Contains(s.Log()[logged:], "cannot bind") }
	err := Until(ctx, "Sendmail to listen", func() bool { return s.listens() || failed() })
	if err == nil && !s.listens() {
		err = errors.New("it does not listen")
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, s.output.String())
	}
	return nil
}

// listens says whether all ports are bound: by the tables of proc(5), as Sendmail would log a connection.
func (s *Sendmail) listens() bool {
	port, _ := strconv.Atoi(s.port())
	return listed("/proc/net/tcp", port) && (!s.hasIPv6 || listed("/proc/net/tcp6", port))
}

// listed says whether a table of TCP sockets has one that listens on port.
func listed(table string, port int) bool {
	const listening = "0A"
	text, _ := os.ReadFile(table)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == listening {
			return true
		}
	}
	return false
}
