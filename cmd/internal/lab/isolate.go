package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// IsolatedDNS is the only name server that is asked in isolation, on port 53: a test may listen there. Where nobody
	// does, a lookup fails at once, for now.
	IsolatedDNS = "127.0.0.53"
	// isolatedName has a dot: without one Sendmail waits for a minute, at every start, for a better name.
	isolatedName = "mx.lab.test"
)

// documentation4 and documentation6 are the networks that nobody has (RFC 5737, 2544 and 3849). In isolation all of their
// addresses are the machine's own, for a client to come from: see [DialFrom].
var (
	documentation4 = []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15"}
	documentation6 = []string{"2001:db8::/32"}
)

// isolatedFiles replace the system's.
var isolatedFiles = map[string]string{
	"/etc/hosts":         "127.0.0.1 localhost mx.lab.test relay.lab.test\n::1 localhost\n",
	"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	"/etc/resolv.conf":   "nameserver " + IsolatedDNS + "\n",
}

// NeedIsolation sees that all is installed that EnterIsolation needs. Call it outside: inside there is no network.
func NeedIsolation(ctx context.Context, logf func(format string, args ...any)) error {
	return NeedPackages(ctx, logf, "iproute2")
}

// Isolate lets command run in isolation: in network, mount and UTS namespaces of its own (namespaces(7)). It must be a
// program that calls [EnterIsolation] first. A test lets its own binary run again:
//
//	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
func Isolate(command *exec.Cmd) {
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS
}

// EnterIsolation makes the namespaces that the process got from [Isolate] a place to test a mail server in. The host is
// called mx.lab.test. Loopback is up, and the networks for documentation are local: one may bind to any of their
// addresses. Names are found in an /etc/hosts of its own and at [IsolatedDNS]. Call it before any name is looked up.
func EnterIsolation(ctx context.Context, logf func(format string, args ...any)) error {
	if err := checkIsolated(); err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	if err := syscall.Sethostname([]byte(isolatedName)); err != nil {
		return fmt.Errorf("naming the host: %w", err)
	}
	if err := isolateNetwork(ctx, logf); err != nil {
		return err
	}
	for name, text := range isolatedFiles {
		if err := cover(name, text); err != nil {
			return err
		}
	}
	return nil
}

// checkIsolated refuses the namespaces of the system, which would be changed for everybody.
func checkIsolated() error {
	if err := needRoot(); err != nil {
		return err
	}
	for _, kind := range []string{"net", "mnt", "uts"} {
		own, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			return err
		}
		parent, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", os.Getppid(), kind))
		if err != nil {
			return err
		}
		if own == parent {
			return fmt.Errorf("the process shares its parent's namespace %s: start it by a command that went through Isolate", own)
		}
	}
	return nil
}

func isolateNetwork(ctx context.Context, logf func(format string, args ...any)) error {
	changes := [][]string{{"link", "set", "lo", "up"}}
	for _, network := range documentation4 {
		changes = append(changes, []string{"route", "add", "local", network, "dev", "lo"})
	}
	if hasIPv6() {
		for _, network := range documentation6 {
			changes = append(changes, []string{"-6", "route", "add", "local", network, "dev", "lo"})
		}
	} else {
		logf("lab: without IPv6, which this system has not")
	}
	found, err := filepath.Glob(debianPackages["iproute2"].program)
	if err != nil || found == nil {
		return errors.New("ip(8) is not installed: call NeedIsolation before Isolate")
	}
	for _, change := range changes {
		if err := run(command(ctx, found[0], change...), nil); err != nil {
			return err
		}
	}
	return nil
}

// hasIPv6 says whether loopback has IPv6 once it is up.
func hasIPv6() bool {
	disabled, err := os.ReadFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
	return err == nil && strings.TrimSpace(string(disabled)) == "0"
}

// cover puts a file with that text over the one called name, in this mount namespace only. (The file has no name of its
// own any more when cover returns.) A symbolic link stays, and what it leads to is covered.
func cover(name, text string) error {
	dir, err := os.MkdirTemp("", "lab-isolated-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, filepath.Base(name))
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o644), os.Chmod(file, 0o644)); err != nil {
		return err
	}
	if err := syscall.Mount(file, name, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("covering %q, which must be there, if only as an empty file: %w", name, err)
	}
	return nil
}
