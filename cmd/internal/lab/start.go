package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	nobody = 65534 // uid and gid that mailboxes belong to; the same number on every Linux

	// startTries is how many sets of ports are tried: another program may take one before Postfix does.
	startTries = 5
)

// Start runs a new instance. When it returns without an error, all ports are bound.
func Start(ctx context.Context, c Config) (*Postfix, error) {
	return start(ctx, c, freeAddrs)
}

func start(ctx context.Context, c Config, free func(n int) ([]string, error)) (_ *Postfix, err error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	for _, address := range c.Mailboxes {
		if err := checkMailbox(address); err != nil {
			return nil, err
		}
	}
	p := &Postfix{}
	if p.dir, p.temporary, err = newDir(c.Dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(p.pidFile()); err == nil {
		return nil, fmt.Errorf("an instance runs in %q, or was killed there: stop it, or choose another Dir", p.dir)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Stop())
		}
	}()
	if err := p.fill(c); err != nil {
		return nil, err
	}
	for range startTries {
		logged := len(p.Log())
		if err = p.startOnce(ctx, c, free); err == nil {
			return p, nil
		}
		if !strings.Contains(p.Log()[logged:], "Address already in use") {
			break
		}
		if err := os.Truncate(p.maillog(), int64(logged)); err != nil { // the complaint is dealt with
			return nil, err
		}
	}
	return nil, fmt.Errorf("starting a private Postfix: %w\n%s", err, p.Log())
}

func (p *Postfix) startOnce(ctx context.Context, c Config, free func(n int) ([]string, error)) error {
	addrs, err := free(1 + len(c.Services))
	if err != nil {
		return err
	}
	p.addrs = map[string]string{"": addrs[0]}
	for name := range c.Services {
		p.addrs[name] = addrs[len(p.addrs)]
	}
	if err := os.WriteFile(p.masterCF(), []byte(masterCF(c, p.addrs)), 0o644); err != nil {
		return err
	}
	// It runs master -w, which returns when all sockets are bound.
	err = run(p.Command(ctx, "postfix", "start"), nil)
	if f, familyErr := newFamily(p.pidFile()); familyErr == nil {
		p.family = f // also where ctx ended too late to prevent it
	} else if err == nil {
		err = familyErr
	}
	return err
}

// freeAddrs returns loopback addresses that the kernel says are free, all different.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // only at the end, so that no address comes twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// newDir makes dir, or a temporary directory, for everybody to search: the daemons run as user postfix.
func newDir(dir string) (abs string, temporary bool, err error) {
	if dir == "" {
		temporary = true
		dir, err = os.MkdirTemp("", "lab-postfix-")
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", false, err
	}
	if err = errors.Join(os.Chmod(dir, 0o755), checkSearchable(filepath.Dir(dir))); err != nil && temporary {
		os.Remove(dir)
	}
	return dir, temporary, err
}

// checkSearchable refuses a directory that only some users get to.
func checkSearchable(dir string) error {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("%q is not searchable by the user postfix: chmod o+x it, or choose another Dir", dir)
		}
	}
	return nil
}

// fill writes all but master.cf into the new directory.
func (p *Postfix) fill(c Config) error {
	owner, err := uidOf("postfix")
	if err != nil {
		return err
	}
	dirs := []struct {
		name string
		mode os.FileMode
		uid  int
	}{
		{p.config(), 0o755, 0}, {p.queue(), 0o755, 0}, {p.logs(), 0o755, 0}, {p.data(), 0o700, owner}, {p.mail(), 0o700, nobody},
	}
	for _, d := range dirs {
		err := errors.Join(os.MkdirAll(d.name, d.mode), os.Chmod(d.name, d.mode), os.Chown(d.name, d.uid, -1))
		if err != nil {
			return err
		}
	}
	files := map[string]string{p.mainCF(): mainCF(c, p.layout)}
	if c.ClientCA != nil {
		files[p.clientCA()] = string(c.ClientCA.PEM())
	}
	if c.Logins != nil {
		files[p.saslConf()] = saslConf(c, p.layout)
		if p.saslauthd, err = startSaslauthd(p.sasl(), c.Logins); err != nil {
			return err
		}
	}
	for name, text := range c.Files {
		files[filepath.Join(p.queue(), name)] = text
	}
	for name, text := range files {
		err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644))
		if err != nil {
			return err
		}
	}
	if c.Cert != nil {
		if err := c.Cert.WriteFile(p.cert()); err != nil {
			return err
		}
	}
	return p.settle()
}

// settle makes main.cf look old. Every program of Postfix takes one that is younger than two seconds for one that is
// still being written, and waits.
func (p *Postfix) settle() error {
	return os.Chtimes(p.mainCF(), time.Time{}, time.Now().Add(-time.Minute))
}

func uidOf(name string) (uid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("%w: call NeedPackages first", err)
	}
	return strconv.Atoi(u.Uid)
}
