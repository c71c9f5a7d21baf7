package policy

import (
	"fmt"
	"strings"
)

// A TLSVersion is a version of TLS. Versions compare by age: TLSNone is the
// least.
type TLSVersion uint8

// The versions, oldest first. TLSOther is a protocol whose name we don't know:
// it is TLS, but satisfies no minimum.
const (
	TLSNone TLSVersion = iota
	TLSOther
	TLS10
	TLS11
	TLS12
	TLS13
)

var tlsNames = [...]string{TLSNone: "none", TLSOther: "unknown version", TLS10: "1.0", TLS11: "1.1", TLS12: "1.2", TLS13: "1.3"}

func (v TLSVersion) String() string {
	if int(v) < len(tlsNames) {
		return tlsNames[v]
	}
	return fmt.Sprintf("TLSVersion(%d)", uint8(v))
}

// ParseTLSVersion reads a version as people and configuration write it, "1.2",
// or as mail servers do in the macro {tls_version}, "TLSv1.2".
func ParseTLSVersion(s string) (TLSVersion, error) {
	switch strings.TrimPrefix(strings.TrimPrefix(s, "TLS"), "v") {
	case "1", "1.0":
		return TLS10, nil
	case "1.1":
		return TLS11, nil
	case "1.2":
		return TLS12, nil
	case "1.3":
		return TLS13, nil
	}
	return TLSOther, fmt.Errorf("%q is not a TLS version: use 1.0, 1.1, 1.2 or 1.3", s)
}
