package manual

import (
	"fmt"
	"strings"

	"gatemilter/policy/config"
)

// Settings explains each section of a configuration and each setting in it.
func Settings(schema []config.SectionSpec) string {
	var b strings.Builder
	for _, s := range schema {
		// Without \& the bracket would be taken for the end of a sentence.
		fmt.Fprintf(&b, ".Ss %s\n%s.Bl -tag -width Ds\n", strings.ReplaceAll(argument("["+s.Title()+"]"), "]", `]\&`), text(s.Meaning))
		for _, k := range s.Keys {
			b.WriteString(settingItem(s, k))
		}
		b.WriteString(".El\n")
	}
	return b.String()
}

func settingItem(s config.SectionSpec, k config.KeySpec) string {
	var b strings.Builder
	b.WriteString(".It Ic " + argument(k.Name) + " No = " + valueMacros(k) + "\n" + text(k.Meaning))
	if k.Needs != "" {
		b.WriteString("Only with\n.Ic " + argument(need(s, k)) + " .\n")
	}
	if k.Secret {
		b.WriteString("Its value is never shown.\n")
	}
	b.WriteString(".br\n")
	switch {
	case k.Required:
		b.WriteString("Required.\n")
	case k.Default == "":
		b.WriteString("Default: none\n")
	default:
		b.WriteString("Default:\n.Ic " + argument(k.Default) + "\n")
	}
	return b.String() + ".br\nExample:\n.Ic " + argument(k.Name+" = "+k.Example) + "\n"
}

// valueMacros shows what may be written: one of a few words, or something of a kind.
func valueMacros(k config.KeySpec) string {
	if len(k.Values) == 0 {
		return "Ar " + argument(k.Kind)
	}
	var words []string
	for _, v := range k.Values {
		words = append(words, argument(v))
	}
	return "Cm " + strings.Join(words, " | ")
}

// need is the line without which a setting has no effect.
func need(s config.SectionSpec, k config.KeySpec) string {
	for _, other := range s.Keys {
		if other.Name == k.Needs && len(other.Values) == 2 && other.Values[0] == "yes" {
			return other.Name + " = yes"
		}
	}
	return k.Needs
}
