package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// A Filter is a mail filter of somebody else, to be compared with or to be built upon: see [Signer], [Verifier] and
// [OpenDMARC].
type Filter struct {
	program  string
	option   string            // by which it is told its configuration file
	settings []string          // of this file; %dir and %dns stand for its directory and name server
	files    map[string]string // beside it, for the filter's user alone
}

// A Signature is how [Signer] signs.
type Signature struct {
	Domain   string // whose mail is signed, that of From; several with commas
	Selector string
	Key      string // PEM
	// Algorithm is rsa-sha256 or ed25519-sha256, Canonicalization header/body as in c= (RFC 6376 section 3.5).
	Algorithm        string
	Canonicalization string
}

// Signer is OpenDKIM in signing mode.
func Signer(s Signature) Filter {
	return Filter{"opendkim", "-x", []string{
		"Mode s", "Domain " + s.Domain, "Selector " + s.Selector, "KeyFile %dir/key.pem",
		"SignatureAlgorithm " + s.Algorithm, "Canonicalization " + s.Canonicalization,
		"OversignHeaders From", // as Debian configures it
		"RequireSafeKeys no",   // it takes no file below /tmp for safe
	}, map[string]string{"key.pem": s.Key}}
}

// Verifier is OpenDKIM in verifying mode. It reports on mail without a signature, too.
func Verifier(authservID string) Filter {
	return Filter{"opendkim", "-x", []string{
		"Mode v", "AuthservID " + authservID, "AlwaysAddARHeader yes", "Nameservers %dns",
	}, nil}
}

// OpenDMARC reports, and refuses nothing. It reads SPF and DKIM results in the Authentication-Results of trusted, and
// with ownSPF evaluates SPF where there is none.
func OpenDMARC(authservID, trusted string, ownSPF bool) Filter {
	return Filter{"opendmarc", "-c", []string{
		"AuthservID " + authservID, "TrustedAuthservIDs " + trusted, "SPFSelfValidate " + strconv.FormatBool(ownSPF),
		"RejectFailures false", "IgnoreAuthenticatedClients true",
		"PublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat",
	}, nil}
}

// A RunningFilter is a private instance of a [Filter].
type RunningFilter struct {
	dir    string
	cmd    *exec.Cmd
	output lockedBuffer
	ended  chan struct{}
}

// StartFilter runs a filter in the directory name of the queue directory: its address for Postfix is
// "unix:NAME/milter.sock". It asks the name server at dns, on port 53, and no other. When StartFilter returns without an
// error, the socket takes connections. The program's package must be installed: see [NeedPackages].
func (p *Postfix) StartFilter(ctx context.Context, name string, f Filter, dns netip.Addr) (*RunningFilter, error) {
	r := &RunningFilter{dir: filepath.Join(p.QueueDir(), name), ended: make(chan struct{})}
	if err := f.fill(r.dir, dns); err != nil {
		return nil, err
	}
	// OpenDMARC knows no other way to a name server than /etc/resolv.conf: it gets one of its own, in a mount namespace
	// of its own.
	r.cmd = command(context.WithoutCancel(ctx), "unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`,
		filepath.Join(r.dir, "resolv.conf"), program(f.program), "-f", f.option, filepath.Join(r.dir, "filter.conf"))
	r.cmd.Stdout, r.cmd.Stderr = &r.output, &r.output
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { r.cmd.Wait(); close(r.ended) }()
	if err := Until(ctx, f.program+" to listen", func() bool { return r.hasEnded() || r.listens() }); err != nil || r.hasEnded() {
		err = cmp.Or(err, errors.New("it ended"))
		return nil, errors.Join(fmt.Errorf("starting %s in %q: %w: %s", f.program, r.dir, err, r.output.String()), r.Stop())
	}
	return r, nil
}

// fill makes the directory of an instance. The filter drops root for the user that its package has made, and lets
// Postfix's group use the socket.
func (f Filter) fill(dir string, dns netip.Addr) error {
	owner, err := uidOf(f.program)
	if err != nil {
		return err
	}
	settings := append([]string{
		"Syslog no", "UserID " + f.program + ":postfix", "UMask 007", "Socket local:%dir/milter.sock",
	}, f.settings...)
	files := map[string]string{
		"resolv.conf": "nameserver " + dns.String() + "\n",
		"filter.conf": strings.NewReplacer("%dir", dir, "%dns", dns.String()).Replace(strings.Join(settings, "\n")) + "\n",
	}
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755), os.Chown(dir, owner, -1)); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, text := range f.files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chown(path, owner, -1)); err != nil {
			return err
		}
	}
	return nil
}

func (r *RunningFilter) listens() bool {
	conn, err := net.Dial("unix", filepath.Join(r.dir, "milter.sock"))
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func (r *RunningFilter) hasEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// PID is the number of its one process.
func (r *RunningFilter) PID() int { return r.cmd.Process.Pid }

// Stop ends the filter and waits for it. It kills, as the last resort, one that doesn't end within ten seconds, and
// then returns an error.
func (r *RunningFilter) Stop() error {
	r.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	err := Until(ctx, "the filter to end", func() bool {
		r.listens() // libmilter looks after each connection whether it has to end, and else every five seconds
		return r.hasEnded()
	})
	if err != nil {
		r.cmd.Process.Kill()
		<-r.ended
		return fmt.Errorf("%w; killed %q: %s", err, r.cmd.Args, r.output.String())
	}
	return nil
}

// A lockedBuffer takes what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.b.String())
}
