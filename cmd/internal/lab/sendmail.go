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
	"syscall"
)

// A Sendmail is a running private instance.
type Sendmail struct {
	sendmailLayout
	config    SendmailConfig
	libraries string // for ld.so(8)
	addr      string
	hasIPv6   bool
	temporary bool // Stop removes the directory
	saslauthd *saslauthd
	daemon    *exec.Cmd // nil: none was started
	ended     chan struct{}
	output    *lockedBuffer
}

// Addr is the host:port of the SMTP server.
func (s *Sendmail) Addr() string { return s.addr }

// Addr6 is where the same server takes connections from IPv6 addresses; "" where the system has no IPv6.
func (s *Sendmail) Addr6() string {
	if !s.hasIPv6 {
		return ""
	}
	return net.JoinHostPort("::1", s.port())
}

func (s *Sendmail) port() string {
	_, port, _ := net.SplitHostPort(s.addr) // freeAddrs made it
	return port
}

// Dir has everything of the instance. Files for MC to include may be put there.
func (s *Sendmail) Dir() string { return s.dir }

// CF is the file that Sendmail reads its configuration from.
func (s *Sendmail) CF() string { return s.cf() }

// SocketDir is a directory in which Sendmail takes sockets, of a milter or a socketmap, for safe: run in Dir.
func (s *Sendmail) SocketDir() string { return s.sockets() }

// Command is the sendmail command, applied to this instance.
func (s *Sendmail) Command(ctx context.Context, args ...string) *exec.Cmd {
	// What goes to syslog(3) is written to the file after -D at this level of debugging. -D must come first.
	cmd := command(ctx, sendmailBinary, append([]string{"-D", s.maillog(), "-d89.10", "-C", s.cf()}, args...)...)
	cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+s.libraries)
	cmd.Dir = s.dir // which tells our processes: see members
	return cmd
}

// Submit sends message with the sendmail command, whose further arguments are options and recipients. As there is one
// queue, the command delivers by itself, in the background.
func (s *Sendmail) Submit(ctx context.Context, message string, args ...string) error {
	return run(s.Command(ctx, append([]string{"-Am", "-i"}, args...)...), strings.NewReader(message))
}

// Reload starts the instance again, with the configuration made anew, from files that MC includes, too. Deliveries
// that have begun end before; open SMTP sessions are cut, which takes a second. No process of the time before is left.
func (s *Sendmail) Reload(ctx context.Context) error { return s.Rebuild(ctx, s.config.MC) }

// Rebuild is Reload with another [SendmailConfig.MC].
func (s *Sendmail) Rebuild(ctx context.Context, mc string) error {
	s.config.MC = mc
	if err := s.build(ctx); err != nil {
		return err
	}
	if err := s.WaitIdle(ctx); err != nil {
		return err
	}
	if err := s.terminate(); err != nil {
		return err
	}
	return s.run(ctx)
}

// stopDaemon ends the process that takes connections.
func (s *Sendmail) stopDaemon(ctx context.Context) error {
	if s.daemon == nil {
		return nil
	}
	s.daemon.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	return Until(ctx, "Sendmail's daemon to end", s.hasEnded)
}

func (s *Sendmail) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Stop ends the instance and waits for its last process, without the end of deliveries. It kills, as the last resort,
// those which don't end within ten seconds, and then returns an error. A second Stop does nothing.
func (s *Sendmail) Stop() error {
	err := s.terminate()
	if s.saslauthd != nil {
		err = errors.Join(err, s.saslauthd.stop())
		s.saslauthd = nil
	}
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// terminate ends all processes, the daemon before its children so that no new ones come.
func (s *Sendmail) terminate() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	err := s.stopDaemon(ctx)
	s.signal(syscall.SIGTERM)
	err = errors.Join(err, Until(ctx, "Sendmail's processes to end", func() bool { return len(s.members()) == 0 }))
	if err != nil {
		pids := s.members()
		s.signal(syscall.SIGKILL)
		err = fmt.Errorf("%w; killed %v\n%s", err, pids, s.Log())
	}
	return err
}

func (s *Sendmail) signal(sig syscall.Signal) {
	for _, pid := range s.members() {
		syscall.Kill(pid, sig)
	}
}

// members returns the processes that live. Those which deliver in the background leave the daemon's process group
// (setsid(2)), but not its directory: all work in the queue's.
func (s *Sendmail) members() []int {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is well formed
	var pids []int
	for _, link := range links {
		dir, err := os.Readlink(link)
		if err != nil || dir != s.dir && !strings.HasPrefix(dir, s.dir+"/") {
			continue // gone meanwhile, dead, or another's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Log is what the instance has logged so far.
func (s *Sendmail) Log() string {
	text, _ := os.ReadFile(s.maillog()) // not there before the first line
	return string(text)
}

// WaitLog waits until a line of the log matches, and returns the first that does.
func (s *Sendmail) WaitLog(ctx context.Context, re *regexp.Regexp) (line string, err error) {
	return waitLine(ctx, re, s.Log)
}
