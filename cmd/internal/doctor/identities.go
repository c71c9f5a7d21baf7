package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// A Stock is what the database of identities has.
type Stock struct {
	Active, Pending, Disabled int
	// Lost are the passwords that can't be decrypted, and Bad the rows that can't be used.
	Lost, Bad int
	// LeftOut are active, and can't be used beside others.
	LeftOut int
	// Own are active, and have a server of the user's own.
	Own int
	// Ports are how many servers have a port.
	Ports map[uint16]int
}

// Credential is where systemd puts the keys for the daemon, if its unit says so. They count
// before those of key_file.
const Credential = "/run/credentials/gatemilter.service/identities.key"

// keyFileKey names the key file among those of a configuration.
const keyFileKey = "key_file"

// identities looks at the database that users' addresses are in: its files, its keys, and what it
// has.
func (x *examination) identities(ctx context.Context) []Check {
	c := x.config.Identities
	if c.Database == "" {
		return nil
	}
	checks := []Check{x.keys(c)}
	path, isFile := strings.CutPrefix(c.Database, "sqlite:")
	if isFile {
		there, more := x.databaseFile(path)
		if checks = append(checks, more...); !there {
			return append(checks, x.snapshot(c.SnapshotFile))
		}
	} else if x.Offline {
		return append(checks, x.snapshot(c.SnapshotFile))
	}
	checks = append(checks, x.stock(ctx)...)
	return append(checks, x.snapshot(c.SnapshotFile))
}

// keys looks at the file with the keys.
func (x *examination) keys(c config.Identities) Check {
	path, what := c.KeyFile, keyFileKey+" "+c.KeyFile
	given := false
	if _, err := os.Stat(Credential); err == nil {
		path, what, given = Credential, "keys "+Credential, true
	}
	_, err := identity.LoadKeyring(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(onIdentities, what, "there is no key file, so no password of a user's server can be used or stored",
			"bring it back from the backup; or, if no password is in the database yet: openssl rand -base64 32 | "+command("install", "-m", "0640", "-g", "gatemilter", "/dev/stdin", path)+" && "+startDaemon)
	case errors.Is(err, fs.ErrPermission):
		return warn(onIdentities, what, err.Error(), "run doctor as root")
	case err != nil:
		found, fix := cut(err.Error())
		return fail(onIdentities, what, found, fix)
	case given:
		return ok(onIdentities, what, "keys that can be used, a credential of systemd's")
	}
	check := x.file(config.File{Path: path, Key: keyFileKey})
	if check.Subject = onIdentities; check.State == OK {
		check.Found = "keys that can be used; " + check.Found
	}
	return check
}

// databaseFile looks at the files of SQLite, and says whether there is a database to open.
func (x *examination) databaseFile(path string) (there bool, checks []Check) {
	const what = "database"
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, []Check{warn(onIdentities, what, path+" is not there yet: gatemilter makes it when it starts with this configuration", startDaemon)}
	case err != nil:
		return false, []Check{warn(onIdentities, what, err.Error(), "run doctor as root")}
	case info.Mode().Perm()&(mayRead|mayWrite) != 0:
		return true, []Check{fail(onIdentities, what, path+" is "+modeOf(info)+": every user of this host can use it", command("chmod", "o=", path))}
	}
	if dir := writableByAll(path, info); dir != "" {
		return true, []Check{fail(onIdentities, what, "every user of this host can replace it, for "+dir+" is writable by all", command("chmod", "o-w", dir))}
	}
	if x.daemon == nil {
		return true, nil
	}
	for _, name := range []string{filepath.Dir(path), path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(name); err == nil && !ownedBy(info, x.daemon.UID) {
			return true, []Check{fail(onIdentities, what, fmt.Sprintf("%s is %s, and not gatemilter's user %s's, who has to write to it", name, modeOf(info), x.daemon.Name), command("chown", x.daemon.Name+":", name))}
		}
	}
	return true, nil
}

// stock looks at what the database has.
func (x *examination) stock(ctx context.Context) []Check {
	const what = "database"
	s, err := x.Identities(ctx)
	if err != nil {
		fix := "look at the server, its name in the DNS, the way to it, and the user and passfile in database of [identities]; gatemilter goes on by itself once it can be used"
		if strings.HasPrefix(x.config.Identities.Database, "sqlite:") {
			fix = "look at the file and its directory; gatemilter goes on by itself once it can be used; if it is damaged, stop gatemilter, bring the file back from the backup, and start it"
		}
		return []Check{fail(onIdentities, what, err.Error(), fix)}
	}
	checks := []Check{ok(onIdentities, what, fmt.Sprintf("answers, and its tables are as they should be: %d active, %d pending, %d disabled", s.Active, s.Pending, s.Disabled))}
	const list = "gatemilter identities list"
	if s.Bad > 0 {
		checks = append(checks, fail(onIdentities, "rows", fmt.Sprintf("%d are not used, for no gatemilter has written them so: somebody else writes to the database", s.Bad), list))
	}
	if s.LeftOut > 0 {
		checks = append(checks, warn(onIdentities, "left out", fmt.Sprintf("%d of the active can't be used beside others, so mail as these addresses is refused", s.LeftOut),
			"see which they are with "+list+", and with gatemilter identities show LOGIN why"))
	}
	if s.Lost > 0 {
		checks = append(checks, fail(onIdentities, "passwords", fmt.Sprintf("%d can't be decrypted, so mail for these servers waits", s.Lost),
			"put the key of that time behind the present one in the key file, and see which they are with "+list))
	} else {
		checks = append(checks, ok(onIdentities, "passwords", "all can be decrypted"))
	}
	if own := x.ignored(s.Own); own != nil {
		checks = append(checks, *own)
	}
	return append(checks, x.ports(s)...)
}

// ignored tells of the addresses that the domain's servers send although a server of the user's own
// may be all that has confirmed them: so it is once allow_user_gateways was yes, and is no now.
func (x *examination) ignored(own int) *Check {
	if own == 0 || x.config.Settings.Outbound.AllowUserGateways {
		return nil
	}
	check := ok(onIdentities, "servers of users", fmt.Sprintf("not used (allow_user_gateways = no): ours send as the active addresses that have one, %d, on behalf; see gatemilter identities list", own))
	return &check
}

// ports looks for servers at ports that users may not have: Sendmail has mailers for the others
// only, and none where TLS is from the start.
func (x *examination) ports(s Stock) (checks []Check) {
	const what = "ports"
	onSendmail := x.isSendmail()
	for _, port := range slices.Sorted(maps.Keys(s.Ports)) {
		found := fmt.Sprintf("%s port %d", have(s.Ports[port], "server"), port)
		if onSendmail && port == policy.PortSubmissions {
			checks = append(checks, fail(onIdentities, what, found+", where TLS is from the start, which Sendmail can't do, and mail waits",
				"see which they are with gatemilter identities list, and attach them with port 587 instead, if the servers can do that"))
			continue
		}
		if slices.Contains(x.config.Portal.Ports, port) {
			continue
		}
		found += ", which is not among the ports of [portal]"
		more := append(slices.Clone(x.config.Portal.Ports), port)
		if onSendmail {
			more = slices.DeleteFunc(more, func(p uint16) bool { return p == policy.PortSubmissions })
		}
		fix := fmt.Sprintf("write into [portal] of %s: ports = %s", x.Config, list(more))
		if onSendmail {
			checks = append(checks, fail(onIdentities, what, found+", so Sendmail has no mailer for it, and mail waits", fix+", and run "+setUpSendmail))
		} else {
			checks = append(checks, warn(onIdentities, what, found+", so users can't choose it", fix))
		}
	}
	return checks
}

// have begins a sentence about n things.
func have(n int, thing string) string {
	if n == 1 {
		return "1 " + thing + " has"
	}
	return fmt.Sprintf("%d %ss have", n, thing)
}

func list(ports []uint16) string {
	var words []string
	for _, p := range ports {
		words = append(words, fmt.Sprint(p))
	}
	return strings.Join(words, ", ")
}

// snapshot looks at the copy that a daemon begins with while the database is away.
func (x *examination) snapshot(path string) Check {
	const what = "snapshot"
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return warn(onIdentities, what, path+" is not there: should gatemilter start while the database is away, mail of users that only that knows would wait", "let gatemilter run with the database for a while: "+startDaemon)
	case err != nil:
		return warn(onIdentities, what, err.Error(), "run doctor as root")
	case info.Mode().Perm()&(mayRead|mayWrite) != 0:
		return fail(onIdentities, what, path+" is "+modeOf(info)+": every user of this host can use it", command("chmod", "o=", path))
	case x.daemon != nil && !ownedBy(info, x.daemon.UID):
		return fail(onIdentities, what, fmt.Sprintf("%s is %s, and not gatemilter's user %s's, who has to write it", path, modeOf(info), x.daemon.Name), command("chown", x.daemon.Name+":", path))
	}
	return ok(onIdentities, what, "of "+info.ModTime().UTC().Format(time.RFC3339))
}
