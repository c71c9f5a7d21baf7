package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Identities says where the identities are that users have attached themselves.
type Identities struct {
	// Database is "sqlite:PATH", a postgres URL without a password, or "" for none.
	Database string
	// KeyFile holds the keys that encrypt the passwords in it.
	KeyFile string
	// SnapshotFile is what a daemon begins with while the database can't be reached.
	SnapshotFile string
}

// The keys of [identities].
const (
	databaseKey = "database"
	keyFileKey  = "key_file"
	snapshotKey = "snapshot_file"
)

// The beginnings of a database's name.
const (
	sqlitePrefix   = "sqlite:"
	postgresScheme = "postgres"
)

// defaultDatabase is where the identities are that the portal has taken, if nothing else is said.
const defaultDatabase = sqlitePrefix + "/var/lib/gatemilter/identities.db"

// needDatabase gives what the portal takes a place to be, if nothing is said of it.
func needDatabase(sections []*section) {
	var ids, portal *section
	for _, sec := range sections {
		switch sec.kind {
		case idsSection:
			ids = cmp.Or(ids, sec)
		case portalSection:
			portal = cmp.Or(portal, sec)
		}
	}
	listen, _ := portal.first(listenKey)
	if _, said := ids.first(databaseKey); listen.value != "" && !said {
		ids.settings = append(ids.settings, setting{databaseKey, defaultDatabase, ids.line})
	}
}

// identities reads where identities are. The files are made when they are first needed, so they
// are not looked at.
func (f fields) identities() Identities {
	f.checkNeeds()
	return Identities{Database: f.database(), KeyFile: f.path(keyFileKey), SnapshotFile: f.path(snapshotKey)}
}

// database reads the name of a database. What is wrong with it is said without it, as it may
// have a password in it.
func (f fields) database() string {
	text := f.text(databaseKey)
	var err error
	switch path, sqlite := strings.CutPrefix(text, sqlitePrefix); {
	case text == "":
		return ""
	case hasComment(text):
		err = errors.New(commentHint)
	case strings.ContainsAny(text[:1], "\"'"):
		err = errors.New("it begins with a quote: write it without quotes")
	case sqlite:
		err = checkSQLite(path)
	case strings.HasPrefix(text, "postgres:") || strings.HasPrefix(text, "postgresql:"):
		err = f.checkPostgres(text)
	default:
		err = errors.New("it is neither SQLite nor PostgreSQL: write sqlite:PATH, or postgres://USER@HOST/DATABASE")
	}
	if err != nil {
		f.problem(databaseKey, "%s", err)
		return ""
	}
	return text
}

func checkSQLite(path string) error {
	switch {
	case strings.HasPrefix(path, "//"):
		return fmt.Errorf("it has slashes too many: write %s", literally(sqlitePrefix+"/"+strings.TrimLeft(path, "/")))
	case strings.ContainsAny(path, "?#%"):
		return fmt.Errorf("%s has a ?, # or %% in it, which mean other things in the name of a database: choose another path", quote(path))
	}
	return checkPath(path, "/var/lib/gatemilter/identities.db")
}

// checkPath takes absolute paths of files that are plainly written.
func checkPath(path, example string) error {
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf("%s is no absolute path: begin it with /, as in %s", quote(path), example)
	case filepath.Clean(path) != path:
		return fmt.Errorf("%s is not written plainly: write %s", quote(path), quote(filepath.Clean(path)))
	case path == "/":
		return fmt.Errorf("%s is a directory: name a file in it", quote(path))
	}
	return nil
}

// path reads the path of a file.
func (f fields) path(key string) string {
	path := f.text(key)
	if path == "" {
		return ""
	}
	spec, _ := f.spec.key(key)
	switch {
	case hintFor(path, "") != "":
		f.problem(key, "%s is no path: %s", quote(path), hintFor(path, ""))
	default:
		if err := checkPath(path, spec.Example); err != nil {
			f.problem(key, "%s", err)
		}
	}
	return path
}

// postgresOptions are those that may follow a ? in the URL (libpq, section 32.1.2, as far as
// they have a meaning here). A password is none of them.
var postgresOptions = map[string]bool{
	"application_name": true, "connect_timeout": true, "host": true, "passfile": true, "port": true, "sslcert": true, "sslkey": true, "sslmode": true,
	"sslnegotiation": true, "sslrootcert": true, "sslsni": true, "target_session_attrs": true,
}

// checkPostgres takes URLs of PostgreSQL (libpq, section 32.1.1.2).
func (f fields) checkPostgres(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("it is no URL that can be read: write postgres://USER@HOST/DATABASE, with %XX for characters that mean something in URLs")
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("what stands behind the ? can't be read: write NAME=VALUE, with & between several")
	}
	_, inURL := u.User.Password()
	switch host := u.Hostname(); {
	case inURL || options.Has("password") || options.Has("sslpassword"):
		return errors.New("it has a password in it, which other users of this host could see: write it into a file that only gatemilter can read, and its path here, as in postgres://USER@HOST/DATABASE?passfile=/etc/gatemilter/pgpass (a line of that file is HOST:PORT:DATABASE:USER:PASSWORD)")
	case u.Opaque != "" || u.User.Username() == "":
		return errors.New("it names no user: write postgres://USER@HOST/DATABASE")
	case host == "" && options.Get("host") == "":
		return errors.New("it names no host: write postgres://USER@HOST/DATABASE, or postgres://USER@/DATABASE?host=/run/postgresql for a server on this host")
	case strings.Trim(u.Path, "/") == "" || strings.Contains(strings.Trim(u.Path, "/"), "/"):
		return errors.New("it names no database, or more than one: write postgres://USER@HOST/DATABASE")
	case u.Fragment != "":
		return errors.New("it has a # in it: write %23 for it")
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if !postgresOptions[name] {
			return fmt.Errorf("it has the option %s, which is none of %s%s", quote(name), strings.Join(slices.Sorted(maps.Keys(postgresOptions)), ", "), choiceHint(name, slices.Sorted(maps.Keys(postgresOptions))))
		}
	}
	if path := options.Get("passfile"); path != "" {
		if err := checkPath(path, "/etc/gatemilter/pgpass"); err != nil {
			return fmt.Errorf("passfile: %w", err)
		}
	}
	// Without the option, the store demands it of a server elsewhere.
	if mode := options.Get("sslmode"); mode != "" && mode != "verify-full" && !isNear(u.Hostname()+options.Get("host")) {
		f.doubt(databaseKey, "with sslmode=%s, whoever is on the way to the database can change who may write as whom: write sslmode=verify-full, which is the default, and demands TLS and the server's right name", mode)
	}
	return nil
}

// isNear says whether a database is on this host.
func isNear(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || isLoopback(host) || strings.HasPrefix(host, "/")
}
