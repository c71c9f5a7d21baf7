package lab

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
)

const (
	// systemPostgres holds a directory for each version that is installed.
	systemPostgres = "/usr/lib/postgresql"
	// postgresRoot is what Debian's package is unpacked to: to install it would make and start a cluster.
	postgresRoot = labCache + "/postgresql"
	// postgresComplete is written last.
	postgresComplete = postgresRoot + "/complete"
)

// postgresPackages are unpacked, not installed.
var postgresPackages = []string{"postgresql-15"}

// postgresLibraries are installed. (Further ones belong to every Debian system.)
var postgresLibraries = []string{"libgssapi-krb5-2", "libicu72", "libldap-2.5-0", "libpq5", "libssl3", "libxml2", "tzdata"}

// NeedPostgres sees that there is a PostgreSQL for [StartPostgres]: the system's, of which only the programs are used, or
// Debian's package, unpacked to a directory of its own below /var/cache, where the next run finds it. No cluster is made,
// and none that is there is touched.
func NeedPostgres(ctx context.Context, logf func(format string, args ...any)) error {
	if err := needRoot(); err != nil {
		return err
	}
	if _, err := postgresPrograms(systemPostgres); err == nil {
		return nil
	}
	if err := NeedPackages(ctx, logf, postgresLibraries...); err != nil {
		return err
	}
	return needUnpackedPostgres(ctx, logf)
}

func needUnpackedPostgres(ctx context.Context, logf func(format string, args ...any)) error {
	return unpackOnce(ctx, logf, postgresPackages, postgresRoot, postgresComplete, func(ctx context.Context) error {
		return unpack(ctx, postgresRoot, postgresPackages)
	})
}

// anyPostgres is the directory of PostgreSQL's programs.
func anyPostgres() (string, error) {
	if dir, err := postgresPrograms(systemPostgres); err == nil {
		return dir, nil
	}
	return postgresPrograms(postgresRoot + systemPostgres)
}

// postgresPrograms is the directory of the programs of the newest version below root.
func postgresPrograms(root string) (string, error) {
	found, err := filepath.Glob(filepath.Join(root, "*/bin/initdb"))
	if err != nil || found == nil {
		return "", errors.New("there is no PostgreSQL: call NeedPostgres first")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 for what is none
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}
