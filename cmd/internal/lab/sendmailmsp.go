package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// An MSP is what sendmail(1) is on most hosts, with a submit.cf: it hands mail of local users to an instance by SMTP, and
// what that does not take waits in a queue of its own. Its user is nobody.
type MSP struct {
	mta *Sendmail
	dir string
}

// mspMC is the .mc file of an MSP (cf/cf/submit.mc).
const mspMC = "define(`confCF_VERSION', `Submit')dnl\n" +
	"define(`__OSTYPE__', `')dnl\n" +
	"define(`_USE_DECNET_SYNTAX_', `1')dnl\n" +
	"define(`confDONT_INIT_GROUPS', `True')dnl\n" +
	"define(`confDOMAIN_NAME', `mx.lab.test')dnl\n" +
	"define(`confRUN_AS_USER', `nobody:nogroup')dnl\n" +
	"define(`confSERVICE_SWITCH_FILE', `%etc/service.switch')dnl\n" +
	"define(`MSP_QUEUE_DIR', `%dir/queue')dnl\n" +
	"define(`STATUS_FILE', `%dir/statistics')dnl\n" +
	"define(`RELAY_MAILER_ARGS', `TCP $h %port')dnl\n" +
	"FEATURE(`msp', `[127.0.0.1]')dnl\n"

// NewMSP makes the MSP of the instance.
func (s *Sendmail) NewMSP(ctx context.Context) (*MSP, error) {
	m := &MSP{s, filepath.Join(s.dir, "msp")}
	text := strings.NewReplacer("%etc", s.etc(), "%dir", m.dir, "%port", s.port()).Replace(mspMC)
	err := errors.Join(os.MkdirAll(m.dir, 0o755), os.MkdirAll(m.queue(), 0o700), os.Chown(m.queue(), nobody, -1), os.WriteFile(m.file("submit.mc"), []byte(text), 0o644),
		os.WriteFile(m.file("statistics"), nil, 0o666), os.Chown(m.file("statistics"), nobody, -1))
	if err != nil {
		return nil, err
	}
	cf, err := expand(command(ctx, sendmailM4, "-D_CF_DIR_="+sendmailCF, sendmailCF+"m4/cf.m4", m.file("submit.mc")))
	if err != nil {
		return nil, err
	}
	return m, os.WriteFile(m.file("submit.cf"), cf, 0o644)
}

func (m *MSP) file(name string) string { return filepath.Join(m.dir, name) }

func (m *MSP) queue() string { return m.file("queue") }

// Submit sends message with the sendmail command, whose arguments are options and recipients.
func (m *MSP) Submit(ctx context.Context, message string, args ...string) error {
	return run(m.mta.Command(ctx, append([]string{"-C", m.file("submit.cf"), "-Ac", "-i"}, args...)...), strings.NewReader(message))
}

// Waiting is how many messages are in the MSP's own queue.
func (m *MSP) Waiting() int {
	files, _ := filepath.Glob(filepath.Join(m.queue(), "[qQ]f*")) // the pattern is well formed
	return len(files)
}

// Flush lets it try all of them again.
func (m *MSP) Flush(ctx context.Context) error { return m.Submit(ctx, "", "-qf") }
