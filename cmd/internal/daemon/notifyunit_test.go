package daemon

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
)

const unitFile = "../../../packaging/systemd/gatemilter.service"

// unit reads the service's file.
func unit(t *testing.T) string {
	t.Helper()
	if err := lab.NeedPackages(t.Context(), t.Logf, "systemd"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// systemd finds the service's sandbox good, 1.5 of 10 or better, and the unit gives a reason
// for whatever stays open.
func TestS9UnitSandbox(t *testing.T) {
	text := unit(t)
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", unitFile).Output()
	overall := regexp.MustCompile(`Overall exposure level for gatemilter\.service: (\d+\.\d+)`).FindSubmatch(out)
	if err != nil || overall == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if level := must(strconv.ParseFloat(string(overall[1]), 64)); level > 1.5 {
		t.Errorf("exposure %v, want 1.5 or less\n%s", level, out)
	}
	out = must(exec.Command("systemd-analyze", "security", "--offline=true", "--json=short", unitFile).Output())
	var settings []struct {
		Name     string
		Exposure *string
	}
	if err := json.Unmarshal(out, &settings); err != nil || len(settings) < 50 {
		t.Fatalf("%v: %d settings", err, len(settings))
	}
	for _, s := range settings {
		name, _, _ := strings.Cut(s.Name, "=")
		if reason := regexp.MustCompile(`(?m)^# -.*\b` + name + `=`); s.Exposure != nil && !reason.MatchString(text) {
			t.Errorf("%s stays open without a reason", s.Name)
		}
	}
}

// systemd has nothing to object to in the unit, its program aside, which is not installed
// where this is built.
func TestS9UnitVerify(t *testing.T) {
	text := strings.ReplaceAll(unit(t), "/usr/local/sbin/gatemilter", must(os.Executable()))
	path := filepath.Join(t.TempDir(), filepath.Base(unitFile))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
