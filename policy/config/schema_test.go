package config_test

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"gatemilter/policy/config"
)

// names and beside say what a section needs that has no name of free choice, or no
// meaning alone.
var (
	names  = map[string]string{"sender": "@sales.example.com", "recipient": "@plant.example.com", "user-gateway": "x alice@partner.example"}
	beside = map[string]string{
		"route":        "[outbound]\ngateway = x\n",
		"outbound":     "[route relays]\nhost = relay.example.com\n[sender @relays.example]\nroute = relays\n",
		"sender":       "[route exchange]\nhost = mail.example.com\n",
		"recipient":    "[route exchange]\nhost = mail.example.com\n",
		"portal":       "[outbound]\ndomains = example.com\n",
		"user-gateway": "[outbound]\nallow_user_gateways = yes\nuser_gateway_slots = 2\n[user x]\naddresses = x@example.com\n",
	}
)

// unsafe are values that are warned of, on purpose; the second one without domains.
var unsafe = map[string]string{"tls": "none", "reject_other": "yes"}

// with is a configuration with one more line in a section of that kind, and what the
// line needs beside it.
func with(section config.SectionSpec, key config.KeySpec, value string) string {
	lines := []string{beside[section.Name] + "[" + section.Name + "]"}
	if section.Named {
		lines = []string{beside[section.Name] + "[" + section.Name + " " + cmp.Or(names[section.Name], "x") + "]"}
	}
	// A route leads somewhere: to one host, or to several.
	hosts := section.Name == "route" && key.Name != "primary" && key.Name != "secondary"
	// A portal listens, at a URL, believes a proxy, and asks a server; and its certificate has a key.
	portal := map[string]bool{"listen": true, "url": true, "trusted_proxies": true, "submission": true}
	if key.Name == "key" || key.Name == "certificate" {
		portal["key"], portal["certificate"] = true, true
	}
	for _, k := range section.Keys {
		if k.Name != key.Name && (k.Name == key.Needs || k.Required || hosts && k.Name == "host" || section.Name == "portal" && portal[k.Name]) {
			lines = append(lines, k.Name+" = "+k.Example)
		}
	}
	if section.Name == "user-gateway" && !strings.HasPrefix(key.Name, "password") {
		lines = append(lines, "password = hunter2")
	}
	return strings.Join(append(lines, key.Name+" = "+value), "\n")
}

// Examples, defaults and listed values are what the manual shows: all can be
// written, and nothing about them is doubtful.
func TestSchemaIsTrue(t *testing.T) {
	for _, section := range config.Schema() {
		for _, key := range section.Keys {
			if key.Meaning == "" || key.Kind == "" || key.Example == "" || key.Required && key.Default != "" {
				t.Errorf("[%s] %s is not described well: %+v", section.Name, key.Name, key)
			}
			if key.Name == "include" {
				continue // takes files, in other tests
			}
			values := append([]string{key.Example}, key.Values...)
			if key.Default != "" {
				values = append(values, key.Default)
			}
			for _, value := range values {
				c, err := config.Parse("x", []byte(with(section, key, value)))
				if err != nil {
					t.Error(err)
				} else if len(c.Warnings) > 0 && unsafe[key.Name] != value {
					t.Errorf("%s = %s: %v", key.Name, value, c.Warnings)
				}
			}
		}
	}
}

// A default that is written out changes nothing.
func TestDefaultsAreTheDefaults(t *testing.T) {
	for _, section := range config.Schema() {
		for _, key := range section.Keys {
			if key.Default == "" {
				continue
			}
			written := with(section, key, key.Default)
			without := written[:strings.LastIndex(written, "\n")]
			a, err1 := config.Parse("x", []byte(written))
			b, err2 := config.Parse("x", []byte(without))
			if err1 != nil || err2 != nil {
				t.Error(err1, err2)
			} else if a.String() != b.String() || !reflect.DeepEqual(a.Settings, b.Settings) {
				t.Errorf("%s = %s changes\n%s\nto\n%s", key.Name, key.Default, b, a)
			}
		}
	}
}

// What a caller does to the schema changes nothing.
func TestSchemaIsACopy(t *testing.T) {
	before := fmt.Sprint(config.Schema())
	for _, section := range config.Schema() {
		for i := range section.Keys {
			for j := range section.Keys[i].Values {
				section.Keys[i].Values[j] = "x"
			}
			section.Keys[i] = config.KeySpec{}
		}
	}
	if after := fmt.Sprint(config.Schema()); after != before {
		t.Errorf("the schema has become\n%s", after)
	}
}
