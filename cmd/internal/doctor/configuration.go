package doctor

import (
	"errors"
	"fmt"
	"strings"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy/config"
)

// configuration reads the configuration; there is none where it has errors.
func (d *Doctor) configuration() (*config.Config, []Check) {
	cfg, err := config.Load(d.Config)
	var problems config.Errors
	switch {
	case errors.As(err, &problems):
		return nil, refused(problems)
	case err != nil:
		return nil, []Check{fail(onConfiguration, d.Config, err.Error(), d.recheck())}
	}
	var checks []Check
	for _, w := range cfg.Warnings {
		checks = append(checks, warn(onConfiguration, place(w), finding(w), remedy(w.Text)))
	}
	for _, err := range daemon.Preflight(cfg) {
		found, fix := cut(err.Error())
		checks = append(checks, fail(onConfiguration, d.Config, found, fix))
	}
	if checks == nil {
		checks = append(checks, ok(onConfiguration, d.Config, "no errors, no warnings"))
	}
	return cfg, checks
}

// refused shows what is wrong with the files, for which a daemon would not start, or not
// read them again.
func refused(problems config.Errors) []Check {
	var checks []Check
	for _, p := range problems {
		checks = append(checks, fail(onConfiguration, place(p), finding(p), remedy(p.Text)))
	}
	return append(checks, warn(onConfiguration, "the rest", "not looked at, as the configuration can't be used", "correct the errors, and run doctor again"))
}

func (d *Doctor) recheck() string {
	return "correct it until this finds no error: gatemilter check " + d.Config
}

func place(p config.Problem) string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// finding is a problem without its place and its remedy.
func finding(p config.Problem) string {
	text, _ := cut(p.Text)
	where := strings.TrimSpace("[" + p.Section + "] " + p.Key)
	if p.Section == "" {
		where = p.Key
	}
	if where == "" {
		return text
	}
	return where + ": " + text
}

// remedy is the end of a text, which says what to do.
func remedy(text string) string {
	_, fix := cut(text)
	return fix
}

// cut parts what was found from what to do: all our texts have both, behind the last
// semicolon or colon, and a command as "run COMMAND".
func cut(text string) (found, fix string) {
	at := max(strings.LastIndex(text, "; "), strings.LastIndex(text, ": "))
	if at < 0 {
		return text, "correct the line"
	}
	return text[:at], strings.TrimPrefix(text[at+2:], "run ")
}
