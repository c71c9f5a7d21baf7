package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatemilter/cmd/internal/postfix"
	"gatemilter/cmd/internal/sendmail"
	"gatemilter/policy/config"
)

// stranger is a user with no group of ours.
var stranger = Account{Name: "stranger", UID: 12345, GID: 12345, Groups: []uint32{12345, 12346}}

// What keeps a user from a file is found as the kernel finds it, and the command that is
// proposed lets him pass.
func TestObstacles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("files of other users need root: run as root")
	}
	for _, c := range []struct {
		dir, file os.FileMode
		owner     int // of the file, its user and its group
		group     int
		want      string // the obstacle; "" is none
	}{
		{0o755, 0o644, 0, 0, ""},
		{0o755, 0o640, 0, 0, "file"},
		{0o755, 0o640, 0, 12346, ""},
		{0o755, 0o604, 0, 12346, "file"}, // the group's permissions count, not everybody's
		{0o755, 0o400, 12345, 0, ""},
		{0o755, 0o044, 12345, 12345, "file"}, // so do the owner's
		{0o700, 0o644, 0, 0, "dir"},
		{0o750, 0o644, 0, 0, "dir"},
	} {
		root, err := os.MkdirTemp("", "doctor-") // its parents can be searched by everybody
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(root) })
		dir, file := filepath.Join(root, "dir"), filepath.Join(root, "dir", "file")
		err = errors.Join(os.Chmod(root, 0o755), os.Mkdir(dir, 0o755), os.WriteFile(file, nil, 0o600), os.Chown(file, c.owner, c.group), os.Chmod(file, c.file), os.Chmod(dir, c.dir))
		if err != nil {
			t.Fatal(err)
		}
		blocked, err := stranger.obstacleTo(file, mayRead)
		if got := baseOf(blocked); err != nil || got != c.want {
			t.Errorf("%+v: %q keeps him, error %v; want %q", c, got, err, c.want)
		}
		if blocked == nil {
			continue
		}
		// There is no group 12345 to name, so the number stands for it.
		if out, err := exec.Command("sh", "-c", blocked.admit(stranger, "r")).CombinedOutput(); err != nil {
			t.Errorf("%+v: %v: %s", c, err, out)
		}
		if again, err := stranger.obstacleTo(file, mayRead); err != nil || again != nil {
			t.Errorf("%+v: %q still keeps him, error %v", c, baseOf(again), err)
		}
	}
}

func baseOf(o *obstacle) string {
	if o == nil {
		return ""
	}
	return filepath.Base(o.path)
}

// A file in a directory that is open to all can be replaced by all, but not where only
// owners can take their files away.
func TestWritableByAll(t *testing.T) {
	for _, c := range []struct {
		dir, file os.FileMode
		want      string
	}{{0o755, 0o600, ""}, {0o755, 0o602, "file"}, {0o777, 0o600, "dir"}, {0o777 | os.ModeSticky, 0o600, ""}} {
		dir := filepath.Join(t.TempDir(), "dir")
		file := filepath.Join(dir, "file")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(file, nil, 0o600), os.Chmod(file, c.file), os.Chmod(dir, c.dir)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := writableByAll(file, info); strings.TrimPrefix(filepath.Base(got), ".") != c.want {
			t.Errorf("%+v: %q, want %q", c, got, c.want)
		}
	}
}

// The clock is wrong where things are there already that it says are yet to come.
func TestClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatemilter.conf")
	if err := os.WriteFile(path, []byte("[server]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	synchronised := func(yes bool, err error) func() (bool, error) {
		return func() (bool, error) { return yes, err }
	}
	for _, c := range []struct {
		now, built, written time.Time
		synchronised        func() (bool, error)
		want                string
	}{
		{at, at.AddDate(-1, 0, 0), at, synchronised(true, nil), "ok ok"},
		{at, time.Time{}, at, synchronised(true, nil), "ok ok"},
		{at, at.AddDate(0, 0, 1), at, synchronised(true, nil), "fail"},
		{at, at, at.Add(time.Hour), synchronised(true, nil), "fail"},
		{at, at, at.Add(time.Minute), synchronised(true, nil), "ok ok"},
		{at, at, at, synchronised(false, nil), "ok warn"},
		{at, at, at, synchronised(false, errors.New("not here")), "ok warn"},
	} {
		if err := os.Chtimes(path, c.written, c.written); err != nil {
			t.Fatal(err)
		}
		d := Doctor{Now: func() time.Time { return c.now }, Built: c.built, Synchronised: c.synchronised}
		var states []string
		for _, check := range d.clock(cfg) {
			states = append(states, string(check.State))
		}
		if got := strings.Join(states, " "); got != c.want {
			t.Errorf("at %s, built %s, written %s: %s, want %s", c.now, c.built, c.written, got, c.want)
		}
	}
}

const aliceElsewhere = "[outbound]\nallow_user_gateways = yes\n[user alice@home.example]\n"

func ownServer(n int) string {
	return fmt.Sprintf("[user-gateway alice@home.example alice%d@partner.example]\nserver = smtp%d.partner.example\npassword = hunter2\n", n, n)
}

func examinationOf(t *testing.T, text string) *examination {
	t.Helper()
	cfg, err := config.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &examination{Doctor: &Doctor{Now: time.Now}, config: cfg}
}

// Users' own servers need libsasl2's modules in Postfix, which nobody else needs.
func TestMechanisms(t *testing.T) {
	dir := t.TempDir()
	x := examinationOf(t, aliceElsewhere+ownServer(1))
	x.Mechanisms = []string{filepath.Join(dir, "*", "libplain.so*")}
	if got := x.logins(); len(got) != 1 || got[0].State != Fail || got[0].Fix != "apt-get install libsasl2-modules" {
		t.Errorf("without modules: %+v", got)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "sasl2"), 0o755), os.WriteFile(filepath.Join(dir, "sasl2", "libplain.so.2"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if got := x.logins(); len(got) != 1 || got[0].State != OK {
		t.Errorf("with them: %+v", got)
	}
	if got := examinationOf(t, "[server]\n").logins(); got != nil {
		t.Errorf("not needed: %+v", got)
	}
}

// Each server is looked at once, whoever uses it, and with a limit on their number.
func TestUserServers(t *testing.T) {
	text := aliceElsewhere
	for n := range maxServers + 3 {
		text += ownServer(n)
	}
	text += "[user-gateway alice@home.example again@partner.example]\nserver = smtp1.partner.example\npassword = hunter2\n"
	x := examinationOf(t, text)
	if n := len(x.userServers()); n != maxServers+3 {
		t.Errorf("%d servers, want %d", n, maxServers+3)
	}
	ctx, cancel := canceled(t)
	defer cancel()
	checks := x.certificates(ctx)
	left := checks[len(checks)-1]
	if len(checks) != maxServers+1 || left.State != Warn || !strings.HasPrefix(left.Found, "3 more were not looked at") {
		t.Errorf("%d checks, the last is %+v", len(checks), left)
	}
}

// The name of a socket is read as it is written.
func TestParseSocket(t *testing.T) {
	for _, text := range []string{"milter=unix:/run/a.sock", "lookup=inet:127.0.0.1:9624", "milter=inet:[::1]:1"} {
		if s, err := ParseSocket(text); err != nil || s.Argument() != text {
			t.Errorf("%s: %+v, error %v", text, s, err)
		}
	}
	for _, text := range []string{"", "milter", "milter=/run/a.sock", "admin=unix:/run/a.sock", "milter=udp:127.0.0.1:1"} {
		if s, err := ParseSocket(text); err == nil {
			t.Errorf("%q is taken for %+v", text, s)
		}
	}
}

// Without a Postfix, all that is said is that there is none.
func TestNoMailServer(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for text, want := range map[string]State{"[server]\n": Fail, "[server]\nmilter = inet:127.0.0.1:9624\n": Warn} {
		x := examinationOf(t, text)
		x.mta = lookAtPostfix(t.Context(), x.Postfix)
		got := x.wiring(t.Context())
		if len(got) != 1 || got[0].State != want || !strings.HasPrefix(got[0].Found, "there is neither Postfix nor Sendmail on this host") {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// However many are asked, a few at a time, the answers come in order.
func TestInParallel(t *testing.T) {
	const n = 100
	running, most := make(chan struct{}, n), make(chan int, n)
	checks := inParallel(n, func(i int) []Check {
		running <- struct{}{}
		most <- len(running)
		<-running
		return []Check{ok("x", fmt.Sprint(i), "")}
	})
	close(most)
	for m := range most {
		if m > atOnce {
			t.Errorf("%d at once, more than %d", m, atOnce)
		}
	}
	for i := range checks {
		if checks[i].What != fmt.Sprint(i) {
			t.Fatalf("%+v", checks)
		}
	}
	if len(checks) != n || slices.ContainsFunc(checks, func(c Check) bool { return c.State != OK }) {
		t.Errorf("%d checks", len(checks))
	}
}

// canceled is a context that has ended, so that nothing leaves this host.
func canceled(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}

// Of a sendmail.cf that is as mta-setup makes it, the order of milters, services without them, and the
// TLS that gateways have to use.
func TestSendmailCF(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	x := examinationOf(t, "[inbound-gateway g]\naddresses = 192.0.2.2\nrequire_tls = yes\ntls_certificate = gw.example\n")
	x.mta = lookAtPostfix(t.Context(), x.Postfix)
	setup, err := sendmail.Setup(x.config)
	if err != nil {
		t.Fatal(err)
	}
	x.SendmailCF = filepath.Join(t.TempDir(), "sendmail.cf")
	good := sendmail.Mark(setup) + "\nXgatemilter, S=local:/x, F=T\nO ServerCertFile=/x\nO InputMailFilters=gatemilter, other\nO DaemonPortOptions=Name=MTA\n"
	for name, c := range map[string]struct {
		old, new string
		what     string // "" where all is well
		state    State
		behind   string // our include, in sendmail.mc
	}{
		"good":            {"", "", "", OK, ""},
		"not first":       {"gatemilter, other", "other, gatemilter", "InputMailFilters", Warn, ""},
		"service without": {"Name=MTA", "Name=MSA, InputMailFilters=other", "DaemonPortOptions", Warn, ""},
		"no TLS":          {"O ServerCertFile=/x\n", "", "STARTTLS", Fail, ""},
		"no certificate":  {"O ServerCertFile=/x\n", "O ServerCertFile=/x\nO TLSSrvOptions=V\n", "TLSSrvOptions", Fail, ""},
		"not last":        {"", "", "sendmail.mc", Warn, "INPUT_MAIL_FILTER(`other', `S=x')dnl\n"},
	} {
		dir := filepath.Dir(x.SendmailCF)
		mc := "MAILER(`smtp')dnl\ninclude(`" + dir + "/gatemilter.m4')dnl\n\ndnl the end\n" + c.behind
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "sendmail.mc"), []byte(mc), 0o644),
			os.WriteFile(x.SendmailCF, []byte(strings.Replace(good, c.old, c.new, 1)), 0o644)); err != nil {
			t.Fatal(err)
		}
		checks := x.wiring(t.Context())
		last := checks[len(checks)-1]
		if checks[0].State != OK || (c.what == "") != (len(checks) == 1) || c.what != "" && (last.What != c.what || last.State != c.state || last.Fix == "") {
			t.Errorf("%s: %+v", name, checks)
		}
	}
}

// Sendmail has a mailer for no port but those of [portal], and for none where TLS is from the start; so
// the ports that are proposed for it are such as mta-setup takes.
func TestPorts(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, c := range map[string]struct {
		sendmail bool
		ports    map[uint16]int
		state    State
		found    string
		fix      string // a part of it
	}{
		"Postfix":            {false, map[uint16]int{2525: 1}, Warn, "1 server has port 2525, which is not among the ports of [portal], so users can't choose it", "ports = 25, 465, 587, 2525"},
		"Postfix, more":      {false, map[uint16]int{2525: 2}, Warn, "2 servers have port 2525, which is not among the ports of [portal], so users can't choose it", "ports = 25, 465, 587, 2525"},
		"Postfix, TLS first": {false, map[uint16]int{465: 1}, OK, "", ""},
		"Sendmail":           {true, map[uint16]int{2525: 1}, Fail, "1 server has port 2525, which is not among the ports of [portal], so Sendmail has no mailer for it, and mail waits", "ports = 25, 587, 2525, and run"},
		"Sendmail, TLS first": {true, map[uint16]int{465: 1, 587: 1}, Fail, "1 server has port 465, where TLS is from the start, which Sendmail can't do, and mail waits",
			"attach them with port 587"},
	} {
		x := examinationOf(t, "[server]\n")
		x.mta = lookAtPostfix(t.Context(), x.Postfix)
		if !c.sendmail {
			x.mta.err = nil
		}
		x.SendmailCF = "/dev/null"
		checks := x.ports(Stock{Ports: c.ports})
		if c.state == OK {
			if len(checks) > 0 {
				t.Errorf("%s: %+v", name, checks)
			}
			continue
		}
		if len(checks) != 1 || checks[0].State != c.state || checks[0].Found != c.found || !strings.Contains(checks[0].Fix, c.fix) {
			t.Errorf("%s: %+v; want %s, %s, %s", name, checks, c.state, c.found, c.fix)
		}
	}
}

// Where users log in, their mail has to pass gatemilter; where a filter hands mail back, it need not.
func TestBypassed(t *testing.T) {
	const (
		ours   = "unix:g"
		user   = "[outbound]\nallow_user_gateways = yes\n[user alice@home.example]\n"
		server = user + "[user-gateway alice@home.example a@partner.example]\nserver = smtp.partner.example\npassword = hunter2\n"
		store  = "[identities]\ndatabase = sqlite:/no/such.db\n"
		here   = "users log in here, and gatemilter does not see their mail"
		leaves = here + ": it leaves by the routes, never by their own servers, and unknown_sender does not apply"
		filter = "which is right where a filter of this host hands mail back"
	)
	options := func(pairs ...string) map[string]string {
		all := make(map[string]string)
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = pairs[i+1]
		}
		return all
	}
	without, logins := options(milters, ""), options(milters, "", saslLogins, "yes")
	for name, c := range map[string]struct {
		config, service, main string
		options               map[string]string
		state                 State
		found                 string
	}{
		"no logins":               {server, "submission/inet", "no", without, Warn, filter},
		"logins":                  {server, "submission/inet", "no", logins, Fail, leaves},
		"logins everywhere":       {server, "smtp/inet", "yes", without, Fail, leaves},
		"but not here":            {server, "smtp/inet", "yes", options(milters, "", saslLogins, "no"), Warn, filter},
		"no milters":              {server, "smtps/inet", "yes", options(overrides, "no_address_mappings,no_milters"), Fail, leaves},
		"other milters":           {server, "submission/inet", "no", options(milters, "unix:a", saslLogins, "yes"), Fail, leaves},
		"no servers of users":     {user, "submission/inet", "no", logins, Fail, here + ": unknown_sender does not apply"},
		"database":                {store, "submission/inet", "no", logins, Fail, here},
		"no users":                {"[server]\n", "submission/inet", "no", logins, Warn, filter},
		"filter":                  {server, "127.0.0.1:10025/inet", "yes", without, Warn, filter},
		"filter by IPv6":          {server, "[::1]:10025/inet", "yes", options(overrides, noMilters), Warn, filter},
		"filter by name":          {server, "localhost:10025/inet", "yes", without, Warn, filter},
		"not this host":           {server, "192.0.2.1:587/inet", "yes", without, Fail, leaves},
		"logins of this host too": {server, "127.0.0.1:587/inet", "no", logins, Fail, leaves},
	} {
		x := examinationOf(t, c.config)
		x.mta.Main = map[string]string{milters: ours, saslLogins: c.main, defaultAction: tempfail}
		checks := x.server(postfix.Server{Name: c.service, Options: c.options}, ours)
		if len(checks) != 1 || checks[0].State != c.state || !strings.Contains(checks[0].Found, c.found) || checks[0].Fix == "" {
			t.Errorf("%s: %+v; want %s, %s", name, checks, c.state, c.found)
		}
	}
}
