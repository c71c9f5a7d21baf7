package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// An openStore is the database that a command works on, open.
type openStore struct {
	*identity.Store
	cfg *config.Config
	// by is who works on it, for the log.
	by   string
	done func()
	// byRoot says that it was root who began.
	byRoot bool
	// messages is where more is said than one error holds.
	messages io.Writer
}

// open opens the database of the configuration. Files that only root can read have to be read
// before: a root becomes another user here. Where the keys are needed, it is an error that they
// can't be read.
func (c *identityCommand) open(needKeys bool) (*openStore, error) {
	cfg, err := load(c.config, c.io)
	if err != nil {
		return nil, err
	}
	return openIdentities(cfg, c.config, needKeys, c.io)
}

func openIdentities(cfg *config.Config, path string, needKeys bool, out stdio) (*openStore, error) {
	if cfg.Identities.Database == "" {
		return nil, fmt.Errorf("%s names no database of identities: write into it\n[identities]\ndatabase = sqlite:/var/lib/gatemilter/identities.db\nand run systemctl reload gatemilter", path)
	}
	keys, err := keyring(cfg)
	if err != nil && needKeys {
		return nil, err
	} else if err != nil {
		fmt.Fprintf(out.err, "gatemilter: %v\n", err)
	}
	s := &openStore{cfg: cfg, by: whoami(), byRoot: os.Geteuid() == 0, messages: out.err}
	if err := becomeOwner(stateDirectory(cfg)); err != nil {
		return nil, err
	}
	var report func(identity.Change)
	report, s.done = daemon.AuditIdentities(out.err)
	s.Store, err = identity.New(identity.Config{Database: cfg.Identities.Database, Keys: keys, Report: report,
		Slots: func() identity.Slots { return daemon.IdentitySlots(cfg) }})
	if err != nil {
		s.done()
		return nil, err
	}
	return s, nil
}

func (s *openStore) close() {
	s.Store.Close()
	s.done()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// keyring reads the keys.
func keyring(cfg *config.Config) (*identity.Keyring, error) {
	path := daemon.IdentityKeys(cfg.Identities)
	keys, err := identity.LoadKeyring(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: bring it back from your backup; or, where no password is in the database yet, make one: openssl rand -base64 32 | install -m 0640 -g gatemilter /dev/stdin %s", err, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: run this as root, or as the user gatemilter", err)
	}
	return keys, err
}

// whoami says who runs this.
func whoami() string {
	name := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	if asked := os.Getenv("SUDO_USER"); asked != "" && asked != name && os.Geteuid() == 0 {
		name += ", by sudo of " + asked
	}
	return name + " (command)"
}

// stateDirectory is where the daemon, and nobody else, writes: the directory of the database, or
// of the snapshot of one elsewhere.
func stateDirectory(cfg *config.Config) string {
	path, _ := strings.CutPrefix(cfg.Identities.Database, "sqlite:")
	if strings.HasPrefix(path, "/") {
		return filepath.Dir(path)
	}
	if dir := filepath.Dir(cfg.Identities.SnapshotFile); exists(dir) {
		return dir
	}
	return "/" // which is root's
}

// becomeOwner makes of root the owner of a directory: files that root makes in it could be used
// by nobody else, and the daemon is another user.
func becomeOwner(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no directory %s for the database: start the daemon, which makes it (systemctl restart gatemilter), or run install -d -m 0700 -o gatemilter -g gatemilter %s", dir, dir)
	}
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	if owner.Uid == 0 {
		return nil
	}
	gid, groups := int(owner.Gid), []int{int(owner.Gid)}
	if u, err := user.LookupId(strconv.Itoa(int(owner.Uid))); err == nil {
		gid, groups = groupsOf(u, gid)
	}
	err = errors.Join(syscall.Setgroups(groups), syscall.Setgid(gid), syscall.Setuid(int(owner.Uid)))
	if err != nil {
		return fmt.Errorf("becoming the owner of %s: %w", dir, err)
	}
	return nil
}

// groupsOf are a user's own group and all of his.
func groupsOf(u *user.User, otherwise int) (gid int, all []int) {
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		gid = otherwise
	}
	ids, _ := u.GroupIds()
	for _, id := range append(ids, u.Gid) {
		if n, err := strconv.Atoi(id); err == nil {
			all = append(all, n)
		}
	}
	return gid, all
}

// accountOf returns the address of a user's account: what was said of it, or what the
// configuration knows, or what follows from the login.
func (s *openStore) accountOf(login, said string) (string, error) {
	if said != "" {
		return config.ParseAddress(said)
	}
	if u := s.cfg.Settings.Outbound.Users[login]; u != nil {
		return u.Account, nil
	}
	if address, err := config.ParseAddress(login); err == nil {
		return address, nil
	}
	if domain := s.cfg.Portal.AccountDomain; domain != "" {
		return config.ParseAddress(login + "@" + domain)
	}
	return "", fmt.Errorf("the login %q is no address, so that of its account is not known: name it with --account", login)
}

// moreByDoctor is what to do where the database can't be used.
const moreByDoctor = ": gatemilter doctor says more"

// explain says what to do about an error of the store.
func (s *openStore) explain(err error, login, address string) error {
	login, address = policy.CanonicalLogin(login), policy.CanonicalAddress(address)
	u := s.cfg.Settings.Outbound.Users[login]
	switch {
	case errors.Is(err, identity.ErrNotFound) && u != nil && u.Has(address):
		return fmt.Errorf("%s has %s by the configuration: change [user %s] there, and run systemctl reload gatemilter", login, address, login)
	case errors.Is(err, identity.ErrNotFound):
		return fmt.Errorf("%s has not attached %s: gatemilter identities list %s shows what there is", login, address, login)
	case errors.Is(err, identity.ErrExists):
		return fmt.Errorf("%s has %s already: remove it first, or see it with gatemilter identities show %s %s", login, address, login, address)
	case errors.Is(err, identity.ErrTooMany):
		return fmt.Errorf("%s has %d addresses, which is the most: remove one first", login, identity.MaxAddresses)
	case errors.Is(err, identity.ErrUnavailable) && errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run this as root, or as the user gatemilter", err)
	case errors.Is(err, identity.ErrUnavailable) && s.foreign() != "":
		return fmt.Errorf("%w: %s", err, s.foreign())
	case errors.Is(err, identity.ErrUnavailable):
		return fmt.Errorf("%w"+moreByDoctor, err)
	}
	return err
}

// foreign says what to do about a file of SQLite's that belongs to another user than the one who
// runs this, or returns "".
func (s *openStore) foreign() string {
	path, isFile := strings.CutPrefix(s.cfg.Identities.Database, "sqlite:")
	if !isFile {
		return ""
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		switch owner := info.Sys().(*syscall.Stat_t).Uid; {
		case int(owner) == os.Geteuid():
		case s.byRoot:
			return fmt.Sprintf("%s belongs to the user %s, and its directory to %s: run chown %[3]s: %[1]s", name, userName(int(owner)), userName(os.Geteuid()))
		default:
			return fmt.Sprintf("%s belongs to the user %s: run this as root, or as that user", name, userName(int(owner)))
		}
	}
	return ""
}

// userName is a user's name, or his number.
func userName(uid int) string {
	number := strconv.Itoa(uid)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return number
}

// notes are what should be known of an address that counts from now on.
func (s *openStore) notes(r identity.Record) (notes []string) {
	o := &s.cfg.Settings.Outbound
	if u := o.Users[r.Login]; u != nil && u.Has(r.Address) {
		notes = append(notes, fmt.Sprintf("[user %s] of the configuration has %s too, and goes before it", r.Login, r.Address))
	}
	if r.Gateway == nil {
		return notes
	}
	if !o.AllowUserGateways {
		notes = append(notes, "users' own servers are not used: write allow_user_gateways = yes into [outbound]")
	}
	listed := false
	for _, port := range s.cfg.Portal.Ports {
		listed = listed || port == r.Gateway.Port
	}
	port := int(r.Gateway.Port)
	switch onSendmail := s.cfg.Server.IsSendmail(); {
	case onSendmail && r.Gateway.TLS == policy.ImplicitTLS:
		notes = append(notes, fmt.Sprintf("TLS is from the start at port %d, which Sendmail can't do, so mail for this server waits: use port 587, if the server can do that", port))
	case !listed && onSendmail:
		notes = append(notes, fmt.Sprintf("port %d is not among the ports of [portal], so users can't choose it, and Sendmail has no mailer for it: add it there, and run mta-setup", port))
	case !listed:
		notes = append(notes, fmt.Sprintf("port %d is not among the ports of [portal], so users can't choose it: add it there", port))
	}
	return notes
}

// othersNote says that an address of our own domains, which the portal gives to nobody but its account, is now
// somebody else's too, or returns "".
func (s *openStore) othersNote(r identity.Record) string {
	o := &s.cfg.Settings.Outbound
	own := r.Address == r.Account || r.Address == policy.CanonicalAddress(r.Login)
	if u := o.Users[r.Login]; own || !o.Domains[policy.Domain(r.Address)] || u != nil && u.Has(r.Address) {
		return ""
	}
	owner := "is not the account of " + r.Login + ": if it belongs to another"
	for _, login := range slices.Sorted(maps.Keys(o.Users)) {
		if o.Users[login].Account == r.Address {
			owner = "belongs to the account of [user " + login + "]: if it is not meant for " + r.Login + " too"
			break
		}
	}
	return fmt.Sprintf("%s is in the domains of [outbound], and %s, run gatemilter identities remove %s %[1]s", r.Address, owner, r.Login)
}

// clashes says with which server of the configuration one can't be used: the mail server asks for
// what is demanded of TLS by host and port only.
func (s *openStore) clashes(r identity.Record) error {
	if r.Gateway == nil {
		return nil
	}
	for _, u := range s.cfg.Settings.Outbound.Users {
		for _, i := range u.Identities {
			if g := i.Gateway; g != nil && g.Nexthop() == r.Gateway.Nexthop() && g.TLS == policy.NoTLS {
				return fmt.Errorf("[user-gateway %s %s] has the same server with tls = %s: make that %s first", u.Login, i.Address, g.TLS, r.Gateway.TLS)
			}
		}
	}
	return nil
}

// serverOf shows a user's server as it is written.
func serverOf(g *policy.UserGateway) string {
	if g == nil {
		return ""
	}
	host := g.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(g.Port))
}

// compareWho is the order of the lists.
func compareWho(aLogin, aAddress, bLogin, bAddress string) int {
	return cmp.Or(strings.Compare(aLogin, bLogin), strings.Compare(aAddress, bAddress))
}

// visible shows what somebody else may have written.
func visible(s string) string { return daemon.Visible(s, maxReason) }
