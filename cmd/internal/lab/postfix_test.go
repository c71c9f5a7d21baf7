package lab

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const hello = "From: x@client.test\nSubject: hello\n\n.a line with a dot\n"

func TestDelivers(t *testing.T) {
	p := instance(t, Config{Mailboxes: []string{"alice@lab.test", "@catch.test"}})
	c := session(t, p.Addr())
	got, err := c.Send(Envelope{"x@client.test", []string{
		"alice@lab.test", "bob@lab.test", "anybody@catch.test", "far@away.test"}}, hello)
	noError(t, err)
	want := Transaction{
		Mail: Reply{250, "2.1.0", "Ok"},
		Rcpt: []Reply{
			{250, "2.1.5", "Ok"},
			{550, "5.1.1", "<bob@lab.test>: Recipient address rejected: User unknown in virtual mailbox table"},
			{250, "2.1.5", "Ok"},
			{450, "4.1.1", "<far@away.test>: Recipient address rejected: no way out: lab.Config has no Relay"},
		},
		Data: Reply{354, "", "End data with <CR><LF>.<CR><LF>"},
		End:  Reply{250, "2.0.0", "Ok: queued as " + got.End.QueueID()},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}

	m := delivered(t, p, "alice@lab.test")
	var names []string
	for _, f := range m.Header {
		names = append(names, f.Name)
	}
	if want := strings.Fields("Return-Path X-Original-To Delivered-To Received From Subject Message-Id Date"); !slices.Equal(names, want) {
		t.Errorf("header %q, want %q", names, want)
	}
	if want := ".a line with a dot\n"; m.Body != want || !strings.HasSuffix(m.Raw, "\n\n"+want) {
		t.Errorf("body %q of %q, want %q", m.Body, m.Raw, want)
	}
	if got, want := delivered(t, p, "@catch.test").Values("delivered-to"), []string{"anybody@catch.test"}; !slices.Equal(got, want) {
		t.Errorf("Delivered-To %q, want %q", got, want)
	}
	if all, err := p.Mailbox("nobody@lab.test"); len(all) > 0 || err != nil {
		t.Errorf("a mailbox that never got mail: %v, %v", all, err)
	}
}

// TestWithoutSystemConfiguration: only our own main.cf is needed. Where the machine has one, TestDelivers runs again
// where it is hidden.
func TestWithoutSystemConfiguration(t *testing.T) {
	needPostfix(t)
	if _, err := os.Stat(systemConfig + "/main.cf"); errors.Is(err, fs.ErrNotExist) {
		t.Logf("%s/main.cf does not exist, so every test here proves it", systemConfig)
		return
	}
	hidden := t.TempDir()
	noError(t, os.CopyFS(hidden, os.DirFS(systemConfig)))
	noError(t, os.Remove(filepath.Join(hidden, "main.cf")))
	out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c",
		`mount --bind "$1" /etc/postfix && chmod -R a+rX,go-w /etc/postfix && exec "$2" -test.run '^TestDelivers$'`,
		"sh", hidden, os.Args[0]).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestIdentities(t *testing.T) {
	p := instance(t, Config{Mailboxes: []string{"@lab.test"}})
	for to, c := range map[string]struct {
		id   Identity
		from string // in the Received header
		log  string
	}{
		"four@lab.test": {
			Identity{Addr: netip.MustParseAddr("203.0.113.5"), Port: 4321, Name: "gw.example.org"},
			"from client.test (gw.example.org [203.0.113.5])", "client=gw.example.org[203.0.113.5]",
		},
		"six@lab.test": {
			Identity{Addr: netip.MustParseAddr("2001:db8::5"), Name: "[UNAVAILABLE]"},
			"from client.test (unknown [IPv6:2001:db8::5])", "client=unknown[2001:db8::5]",
		},
		"login@lab.test": {
			Identity{Login: "alice +=é"},
			"from client.test (localhost [127.0.0.1])", "client=localhost[127.0.0.1], sasl_method=XCLIENT, sasl_username=alice +=",
		},
	} {
		s := session(t, p.Addr())
		accepted(t)(s.XClient(c.id))
		accepted(t)(s.Ehlo("client.test"))
		sent, err := s.Send(Envelope{"", []string{to}}, hello)
		noError(t, err)
		line, err := p.WaitLog(t.Context(), regexp.MustCompile(sent.End.QueueID()+": client="))
		noError(t, err)
		if !strings.Contains(line, c.log) {
			t.Errorf("%+v: log %q, want %q", c.id, line, c.log)
		}
		accepted(t)(s.Quit())
	}
	noError(t, p.WaitIdle(t.Context()))
	all, err := p.Mailbox("@lab.test")
	noError(t, err)
	var got []string
	for _, m := range all {
		from, _, _ := strings.Cut(m.Values("Received")[0], "\t")
		got = append(got, m.Values("Delivered-To")[0]+" "+from)
	}
	slices.Sort(got)
	want := []string{
		"four@lab.test from client.test (gw.example.org [203.0.113.5])",
		"login@lab.test from client.test (localhost [127.0.0.1])",
		"six@lab.test from client.test (unknown [IPv6:2001:db8::5])",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Received %q, want %q", got, want)
	}
}

func TestQueueShowsHeldMail(t *testing.T) {
	p := instance(t, Config{Mailboxes: []string{"alice@lab.test", "bob@lab.test"}, Main: "smtpd_sender_restrictions = check_sender_access static:HOLD\n"})
	sent, err := session(t, p.Addr()).Send(Envelope{"x@client.test", []string{"alice@lab.test", "bob@lab.test"}}, hello)
	noError(t, err)
	noError(t, p.WaitIdle(t.Context()))
	got, err := p.Queue(t.Context())
	noError(t, err)
	want := []Queued{{Queue: "hold", ID: sent.End.QueueID(), Sender: "x@client.test", Recipients: []Recipient{
		{Address: "alice@lab.test"}, {Address: "bob@lab.test"}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	noError(t, run(p.Command(t.Context(), "postsuper", "-H", "ALL"), nil))
	noError(t, p.Flush(t.Context()))
	_, err = p.WaitLog(t.Context(), regexp.MustCompile(sent.End.QueueID()+": removed"))
	noError(t, err)
	delivered(t, p, "alice@lab.test")
}

func TestSendmailCommand(t *testing.T) {
	p := instance(t, Config{Mailboxes: []string{"alice@lab.test"}})
	noError(t, p.Sendmail(t.Context(), hello, "-f", "x@client.test", "alice@lab.test", "far@away.test"))
	if m := delivered(t, p, "alice@lab.test"); m.Values("Return-Path")[0] != "<x@client.test>" {
		t.Errorf("delivered %+v", m)
	}
	got, err := p.Queue(t.Context())
	noError(t, err)
	if len(got) != 1 {
		t.Fatalf("queue %+v, want one message", got)
	}
	want := []Queued{{Queue: "deferred", ID: got[0].ID, Sender: "x@client.test", Recipients: []Recipient{
		{Address: "far@away.test", Delay: "no way out: lab.Config has no Relay"}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestMilter: without its milter Postfix refuses mail for now, which shows that it asks for it.
func TestMilter(t *testing.T) {
	p := instance(t, Config{Mailboxes: []string{"alice@lab.test"}, Milter: "unix:no/such.sock"})
	got, err := session(t, p.Addr()).Send(Envelope{"x@client.test", []string{"alice@lab.test"}}, hello)
	if want := (Transaction{Mail: Reply{451, "4.7.1", "Service unavailable - try again later"}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	noError(t, p.Sendmail(t.Context(), hello, "alice@lab.test"))
	_, err = p.WaitLog(t.Context(), regexp.MustCompile(`cleanup.* connect to Milter service unix:no/such.sock`))
	noError(t, err)
}

func TestRelayToASecondInstance(t *testing.T) {
	far := instance(t, Config{Mailboxes: []string{"bob@away.test"}})
	near := instance(t, Config{Relay: "[127.0.0.1]:" + port(t, far.Addr())})
	sent, err := session(t, near.Addr()).Send(Envelope{"x@client.test", []string{"bob@away.test"}}, hello)
	noError(t, err)
	_, err = near.WaitLog(t.Context(), regexp.MustCompile(sent.End.QueueID()+": to=<bob@away.test>.* status=sent"))
	noError(t, err)
	if got := delivered(t, far, "bob@away.test").Values("Received"); len(got) != 2 {
		t.Errorf("Received %q, want two hops", got)
	}
}

func TestChroot(t *testing.T) {
	ca := must[*CA](t)(NewCA("Lab CA"))
	p := instance(t, Config{
		Mailboxes: []string{"alice@lab.test"},
		Chroot:    true,
		Cert:      must[*Cert](t)(ca.Issue(Subject{Hosts: []string{"mx.lab.test"}})),
		Files: map[string]string{
			"etc/nsswitch.conf": "hosts: files\n",
			"etc/hosts":         "127.0.0.1 inside.lab.test\n",
		},
	})
	c := session(t, p.Addr())
	accepted(t)(c.StartTLS(clientTLS(ca, nil)))
	accepted(t)(c.Ehlo("client.test"))
	_, err := c.Send(Envelope{"x@client.test", []string{"alice@lab.test"}}, hello)
	noError(t, err)
	if got := delivered(t, p, "alice@lab.test").Values("Received")[0]; !strings.HasPrefix(got, "from client.test (inside.lab.test [127.0.0.1])") {
		t.Errorf("Received %q does not name the client by the file in the chroot", got)
	}
}

func TestReload(t *testing.T) {
	p := instance(t, Config{})
	accepted(t)(session(t, p.Addr()).Quit()) // leaves an idle smtpd with the old configuration
	noError(t, run(p.Command(t.Context(), "postconf", "smtpd_banner=after the reload"), nil))
	noError(t, p.Reload(t.Context()))
	if got, want := session(t, p.Addr()).Greeting, (Reply{220, "", "after the reload"}); got != want {
		t.Errorf("greeting %v, want %v", got, want)
	}
	for line := range strings.Lines(p.Log()) {
		if strings.Contains(line, "warning") || strings.Contains(line, "fatal") {
			t.Errorf("log: %s", line)
		}
	}
}

func TestStopLeavesNothing(t *testing.T) {
	p := instance(t, Config{Services: map[string]string{"submission": ""}})
	session(t, p.Addr()) // still open
	noError(t, Until(t.Context(), "master, pickup, qmgr, postlogd and smtpd to be known", func() bool {
		working, known := workingIn(t, p.QueueDir()), p.family.members()
		return len(known) >= 5 && !slices.ContainsFunc(working, func(pid int) bool { return !slices.Contains(known, pid) })
	}))
	noError(t, p.Stop())
	if pids := workingIn(t, p.QueueDir()); len(pids) > 0 {
		t.Errorf("processes %v still run", pids)
	}
	for _, addr := range []string{p.Addr(), p.ServiceAddr("submission")} {
		if _, err := Dial(t.Context(), addr); err == nil {
			t.Errorf("%s still answers", addr)
		}
	}
	if _, err := os.Stat(p.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory %q: %v", p.dir, err)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if err := p.Reload(t.Context()); err == nil {
		t.Error("a stopped instance could be reloaded")
	}
}

// workingIn returns the processes that have dir as their working directory, as all daemons of an instance have its queue
// directory.
func workingIn(t *testing.T, dir string) (pids []int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	noError(t, err)
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			noError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestRestartsInItsDirectory(t *testing.T) {
	c := Config{Dir: filepath.Join(os.TempDir(), "lab-restart-"+strconv.Itoa(os.Getpid())), Mailboxes: []string{"alice@lab.test"}}
	t.Cleanup(func() { os.RemoveAll(c.Dir) })
	p := instance(t, c)
	_, err := Start(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "an instance runs in") {
		t.Errorf("a second instance in the directory: %v", err)
	}
	_, err = session(t, p.Addr()).Send(Envelope{"x@client.test", []string{"alice@lab.test"}}, hello)
	noError(t, err)
	noError(t, p.WaitIdle(t.Context()))
	noError(t, p.Stop())
	delivered(t, instance(t, c), "alice@lab.test")
}

func TestStartTakesAnotherPort(t *testing.T) {
	needPostfix(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer taken.Close()
	tries := 0
	p, err := start(t.Context(), Config{}, func(n int) ([]string, error) {
		if tries++; tries == 1 {
			return []string{taken.Addr().String()}, nil
		}
		return freeAddrs(n)
	})
	noError(t, err)
	defer p.Stop()
	if tries != 2 || p.Addr() == taken.Addr().String() {
		t.Errorf("%d tries, address %s; want 2, another than %s", tries, p.Addr(), taken.Addr())
	}
	session(t, p.Addr())
}

func TestStartRefuses(t *testing.T) {
	needPostfix(t)
	private := filepath.Join(t.TempDir(), "private")
	noError(t, os.Mkdir(private, 0o700))
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Mailboxes: []string{"alice"}}, `mailbox "alice": want local@domain or @domain, in plain characters`},
		{Config{Mailboxes: []string{"../alice@lab.test"}}, `mailbox "../alice@lab.test": want local@domain`},
		{Config{Dir: filepath.Join(private, "lab")}, "is not searchable by the user postfix: chmod o+x it, or choose another Dir"},
		{Config{Master: "nonsense\n"}, "starting a private Postfix: "},
		{Config{Master: "x unix - - nonsense - - smtp\n"}, `nonsense`},
	} {
		p, err := Start(t.Context(), c.config)
		if err == nil {
			p.Stop()
			t.Errorf("%+v: started", c.config)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %q, want %q", c.config, err, c.want)
		}
	}
}
