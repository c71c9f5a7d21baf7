package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	systemConfig = "/etc/postfix"
	systemQueue  = "/var/spool/postfix"
)

// A debianPackage is what has to be known of a package to install it without harm.
type debianPackage struct {
	name    string
	program string   // by which one tells that it is installed; a pattern as of filepath.Glob
	with    []string // packages that are chosen along with it
	answers string   // to its questions, for debconf-set-selections(1)
	config  []string // what an installation would change if it is there already
	pidFile string   // of the service that must not have been started
}

// debianPackages are those that tests and benchmarks use.
var debianPackages = map[string]debianPackage{
	"postfix": {
		program: program("postfix"),
		answers: "postfix postfix/main_mailer_type select No configuration\n",
		config:  []string{systemConfig},
		pidFile: filepath.Join(systemQueue, pidFile),
	},
	"libsasl2-modules": {program: "/usr/lib/*/sasl2/libplain.so.2"},
	// What the private Sendmail is linked with: see sendmailLibraries.
	"libdb5.3":      {program: "/usr/lib/*/libdb-5.3.so"},
	"libnsl2":       {program: "/usr/lib/*/libnsl.so.2"},
	"libldap-2.5-0": {program: "/usr/lib/*/libldap-2.5.so.0"},
	"libsasl2-2":    {program: "/usr/lib/*/libsasl2.so.2"},
	"libssl3":       {program: "/usr/lib/*/libssl.so.3"},
	// What the private PostgreSQL is linked with besides: see postgresLibraries.
	"libgssapi-krb5-2": {program: "/usr/lib/*/libgssapi_krb5.so.2"},
	"libicu72":         {program: "/usr/lib/*/libicuuc.so.72"},
	"libpq5":           {program: "/usr/lib/*/libpq.so.5"},
	"libxml2":          {program: "/usr/lib/*/libxml2.so.2"},
	"tzdata":           {program: "/usr/share/zoneinfo/UTC"},
	"iproute2":         {program: "/*bin/ip"},
	"systemd":          {program: "/lib/systemd/systemd-journald"},
	"opendkim": {
		program: program("opendkim"),
		config:  []string{"/etc/opendkim.conf", "/etc/dkimkeys", "/etc/default/opendkim"},
		pidFile: "/run/opendkim/opendkim.pid",
	},
	"rspamd": {
		program: "/usr/bin/rspamd",
		config:  []string{"/etc/rspamd", "/etc/default/rspamd"},
		pidFile: "/run/rspamd/rspamd.pid",
	},
	"opendkim-tools": {program: program("opendkim-genkey")},
	"mandoc":         {program: "/usr/bin/mandoc"},
	"zsh":            {program: "/usr/bin/zsh"},
	"fish":           {program: "/usr/bin/fish"},
	"sqlite3":        {program: "/usr/bin/sqlite3"},
	// What the Debian package is built and tested with. (gcc and make alone would not do: build-essential is asked for.)
	"build-essential": {program: "/usr/share/build-essential/list"},
	"debhelper":       {program: "/usr/bin/dh"},
	"lintian":         {program: "/usr/bin/lintian"},
	"debootstrap":     {program: program("debootstrap")},
	// The browser and the monitoring that the daemon's admin pages are for. (Debian ships promtool with the server.)
	"chromium": {program: "/usr/bin/chromium", config: []string{"/etc/chromium.d"}},
	"prometheus": {
		program: "/usr/bin/promtool",
		config:  []string{"/etc/prometheus", "/etc/default/prometheus"},
		pidFile: "/run/prometheus/prometheus.pid",
	},
	"opendmarc": {
		program: program("opendmarc"),
		with:    []string{"dbconfig-no-thanks"}, // else a MySQL server would be configured
		config:  []string{"/etc/opendmarc.conf", "/etc/default/opendmarc"},
		pidFile: "/run/opendmarc/opendmarc.pid",
	},
}

// NeedPostfix is NeedPackages for Postfix and libsasl2-modules, without which its smtp client can log in nowhere ("No
// worthy mechs found"). Debian's postfix does not depend on it: one may be there without the other.
func NeedPostfix(ctx context.Context, logf func(format string, args ...any)) error {
	return NeedPackages(ctx, logf, "postfix", "libsasl2-modules")
}

// NeedPackages returns nil if the named programs, which must be among debianPackages, are installed. Those that are not
// it installs from Debian's packages, unconfigured and without starting them, and tells logf so. It refuses to install
// where that would remove another package, touch an existing configuration, or start a service.
func NeedPackages(ctx context.Context, logf func(format string, args ...any), names ...string) error {
	if err := needRoot(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	unlock, err := lockInstall(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	missing, err := missingPackages(names)
	if err != nil || len(missing) == 0 {
		return err
	}
	for _, p := range missing {
		if err := p.installable(); err != nil {
			return err
		}
	}
	logf("lab: installing Debian's %s, unconfigured and not started", list(missing))
	return install(ctx, missing)
}

func missingPackages(names []string) ([]debianPackage, error) {
	var missing []debianPackage
	for _, name := range names {
		p, known := debianPackages[name]
		if !known {
			return nil, fmt.Errorf("package %q: want one of %q", name, slices.Sorted(maps.Keys(debianPackages)))
		}
		if found, err := filepath.Glob(p.program); err != nil || found == nil {
			p.name = name
			missing = append(missing, p)
		}
	}
	return missing, nil
}

// installable says why a package that is missing can't be installed.
func (p debianPackage) installable() error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%s is not installed and there is no apt-get to install it: install it yourself", p.name)
	}
	for _, path := range p.config {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is not installed, but %q is there and an installation would change it: "+
				"install %s yourself, or move %q away", p.name, path, p.name, path)
		}
	}
	return nil
}

// checkStopped fails if the package's service runs.
func (p debianPackage) checkStopped() error {
	if p.pidFile == "" {
		return nil
	}
	if _, err := newFamily(p.pidFile); err == nil {
		return errors.New("the installation started the system's " + p.name + ": stop it")
	}
	return nil
}

// list names packages for people.
func list(packages []debianPackage) string {
	var names []string
	for _, p := range packages {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}
