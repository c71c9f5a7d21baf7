package spf

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// differences are the suite's tests that we don't satisfy, with what we say instead and why.
var differences = map[string]string{
	"a-colon-domain":            `permerror: no "/" in domains, which nobody has`,
	"a-colon-domain-ip4mapped":  `permerror: no "/" in domains, which nobody has`,
	"mx-colon-domain":           `permerror: no "/" in domains, which nobody has`,
	"mx-colon-domain-ip4mapped": `permerror: no "/" in domains, which nobody has`,
	"p-macro-multiple":          `neutral: section 7.3 says not to use %{p}, and it is "unknown" here`,
}

// A scenario is one document of the suite: tests that share a zone.
type scenario struct {
	Description, Comment string
	Tests                map[string]suiteTest
	ZoneData             map[string][]map[string]any `yaml:"zonedata"`
}

type suiteTest struct {
	Description, Comment string
	Spec                 any
	HELO                 string `yaml:"helo"`
	Host                 netip.Addr
	MailFrom             string `yaml:"mailfrom"`
	Result               any
	Explanation          string
	Strict               any
}

func TestA1_SuiteOfRFC7208(t *testing.T) {
	count := 0
	for _, s := range suite(t) {
		z := s.zone(t)
		for name, test := range s.Tests {
			count++
			got := Check(t.Context(), z, Input{IP: test.Host, Sender: test.MailFrom, HELO: test.HELO})
			satisfied := slices.Contains(texts(test.Result), string(got.Result))
			expected, differs := differences[name]
			switch {
			case !differs && !satisfied:
				t.Errorf("%s (section %v): %s, want %v: %s", name, test.Spec, got.Result, test.Result, got.Reason)
			case differs && satisfied:
				t.Errorf("%s: %s, as the suite wants: take it from the differences", name, got.Result)
			case differs && !strings.HasPrefix(expected, string(got.Result)+":"):
				t.Errorf("%s: %s, want %s", name, got.Result, expected)
			}
			if got.Reason == "" {
				t.Errorf("%s: %s without a reason", name, got.Result)
			}
		}
	}
	if count != 203 {
		t.Errorf("the suite has %d tests, want 203", count)
	}
}

func suite(t testing.TB) []scenario {
	file, err := os.Open("testdata/rfc7208-tests.yml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	var scenarios []scenario
	for {
		var s scenario
		if err := decoder.Decode(&s); errors.Is(err, io.EOF) {
			return scenarios
		} else if err != nil {
			t.Fatal(err)
		}
		scenarios = append(scenarios, s)
	}
}

// zone reads the zone data. By the suite's convention the records of the type SPF,
// which RFC 7208 gave up, stand for TXT records at names that have none; "TXT: NONE"
// says that there is no record of either type.
func (s *scenario) zone(t testing.TB) zone {
	z := zone{}
	for name, entries := range s.ZoneData {
		name = strings.ToLower(name)
		hasTXT := slices.ContainsFunc(entries, func(e map[string]any) bool { return e["TXT"] != nil })
		for _, entry := range entries {
			for kind, value := range entry {
				if kind == "SPF" && hasTXT || kind == "TXT" && value == "NONE" {
					continue
				}
				z[name] = append(z[name], zoneRecord(t, kind, value))
			}
		}
	}
	return z
}

func zoneRecord(t testing.TB, kind string, value any) record {
	parts := texts(value)
	switch kind {
	case "SPF", "TXT": // strings of one record are joined without blanks (section 3.3)
		return record{"TXT", strings.Join(parts, "")}
	case "MX": // preference and host
		return record{kind, parts[1]}
	case "A", "AAAA", "PTR", "CNAME", "TIMEOUT":
		return record{kind, parts[0]}
	}
	t.Fatalf("record of the unknown kind %q", kind)
	return record{}
}

// texts gives the elements of a YAML list, or a scalar as a list of one.
func texts(value any) []string {
	list, ok := value.([]any)
	if !ok {
		return []string{fmt.Sprint(value)}
	}
	var all []string
	for _, element := range list {
		all = append(all, fmt.Sprint(element))
	}
	return all
}
