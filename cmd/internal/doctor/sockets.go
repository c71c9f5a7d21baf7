package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// startDaemon puts gatemilter's sockets where its configuration has them.
const startDaemon = "systemctl restart gatemilter"

// sockets looks at each of gatemilter's sockets: whether it answers, and whether the mail
// server can reach it.
func (x *examination) sockets(ctx context.Context) []Check {
	var checks []Check
	a, err := accountOf(x.mailUser())
	if err != nil {
		checks = append(checks, fail(onSockets, "the mail server's user", err.Error(), "install the mail server, or write its user as mta_user into [server]"))
	}
	for _, s := range x.listeners() {
		c := x.answers(ctx, s)
		checks = append(checks, c)
		if s.Network != "unix" || c.State != OK {
			continue
		}
		if err == nil {
			checks = append(checks, x.reaches(ctx, a, s))
		}
		if x.isSendmail() {
			checks = append(checks, safe(s))
		} else {
			checks = append(checks, x.inQueue(s)...)
		}
	}
	return checks
}

// mailUser is the user that the mail server's processes run as.
func (x *examination) mailUser() string {
	if owner := x.mta.Main["mail_owner"]; owner != "" {
		return owner
	}
	if x.isSendmail() {
		return "root"
	}
	return x.config.Server.MTAUser
}

// listeners are the sockets that a daemon with this configuration opens.
func (x *examination) listeners() []Socket {
	var all []Socket
	for _, l := range x.config.Server.Milter {
		all = append(all, Socket{"milter", l})
	}
	if x.config.Settings.AsksLookup() {
		for _, l := range x.config.Server.Lookup {
			all = append(all, Socket{"lookup", l})
		}
	}
	return all
}

// answers tries a socket as the user who runs this.
func (x *examination) answers(ctx context.Context, s Socket) Check {
	mode := ""
	if s.Network == "unix" {
		info, err := os.Lstat(s.Address)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fail(onSockets, s.String(), "there is no such socket: gatemilter does not run, or has been started with another configuration", startDaemon)
		case err != nil:
			return warn(onSockets, s.String(), err.Error(), "run doctor as root")
		case info.Mode().Type() != fs.ModeSocket:
			return fail(onSockets, s.String(), "it is no socket ("+modeOf(info)+")", command("rm", s.Address)+" && "+startDaemon)
		}
		mode = "; " + modeOf(info)
		x.seeDaemon(ctx, s)
	}
	answer, err := Try(ctx, s)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return warn(onSockets, s.String(), "the user who runs this may not connect, so it is not known whether it answers"+mode, "run doctor as root")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(onSockets, s.String(), "nobody listens there: gatemilter does not run", startDaemon)
	case err != nil:
		return fail(onSockets, s.String(), err.Error(), "stop what listens there, and run "+startDaemon)
	}
	return ok(onSockets, s.String(), answer+mode)
}

// seeDaemon finds out which user listens.
func (x *examination) seeDaemon(ctx context.Context, s Socket) {
	conn, err := dial(ctx, s)
	if err != nil {
		return
	}
	defer conn.Close()
	if uid, err := listenerOf(conn); err == nil {
		if a, err := accountOf(fmt.Sprint(uid)); err == nil {
			x.daemon = &a
		}
	}
}

// reaches looks whether the mail server's user can use a socket: by the permissions on the
// way to it, and where we can by being that user, which counts more: access control lists
// and security modules have a say too.
func (x *examination) reaches(ctx context.Context, a Account, s Socket) Check {
	what := s.Key + " for the user " + a.Name
	blocked, err := a.obstacleTo(s.Address, mayRead|mayWrite)
	how := "may use the socket and enter all directories above it"
	if x.TryAs != nil {
		if tried := x.TryAs(ctx, a, s); tried == nil {
			return ok(onSockets, what, "can connect, and is answered")
		} else if blocked == nil {
			return fail(onSockets, what, tried.Error(), "look for access control lists (getfacl) and security modules that keep it from "+s.Address)
		}
	}
	switch {
	case err != nil:
		return warn(onSockets, what, "not known: "+err.Error(), "run doctor as root")
	case blocked == nil:
		return ok(onSockets, what, how)
	}
	return fail(onSockets, what, fmt.Sprintf("can't reach it: %s is %s", blocked.path, modeOf(blocked.info)), x.letIn(a, blocked))
}

// letIn says how the account gets past an obstacle. The socket itself is made anew at each
// start, as [server] has it.
func (x *examination) letIn(a Account, o *obstacle) string {
	if o.dir {
		return o.admit(a, "x")
	}
	if !slices.ContainsFunc(a.Groups, func(gid uint32) bool { return owned(o.info, gid) }) {
		return fmt.Sprintf("write into [server] of %s: socket_group = %s, and run %s", x.Config, groupName(a.GID), startDaemon)
	}
	return fmt.Sprintf("write into [server] of %s: socket_mode = 0660, and run %s", x.Config, startDaemon)
}

// inQueue looks whether a socket can also be reached by a chrooted Postfix. Where no socket
// of the key can, there is no way to wire it, which wiring says.
func (x *examination) inQueue(s Socket) []Check {
	queue := x.mta.Main["queue_directory"]
	if queue == "" {
		return nil
	}
	what := s.Key + " for a chrooted Postfix"
	if path, err := filepath.Rel(queue, s.Address); err == nil && filepath.IsLocal(path) {
		return []Check{ok(onSockets, what, "is in the queue directory "+queue)}
	}
	return []Check{warn(onSockets, what, s.Address+" is not in the queue directory "+queue+", which is all that such a Postfix can reach",
		fmt.Sprintf("write into [server] of %s: %s = unix:%s/gatemilter/%s.sock, and run %s", x.Config, s.Key, queue, s.Key, startDaemon))}
}
