package dkim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	signer "github.com/emersion/go-msgauth/dkim"
	"go.uber.org/goleak"

	"gatemilter/policy"
)

// TestMain fails if any test left a goroutine of ours or the verifier's behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A zone is DNS for a test. Records of one name are separated by "|"; the words
// in faults are answers that are errors.
type zone map[string]string

var faults = map[string]error{
	"NXDOMAIN": &net.DNSError{Err: "no such host", IsNotFound: true},
	"SERVFAIL": &net.DNSError{Err: "server misbehaving", IsTemporary: true},
	"TIMEOUT":  context.DeadlineExceeded,
	"STRANGE":  fmt.Errorf("wire \x00 cut"),
	"NODATA":   nil,
}

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	answer, known := z[strings.ToLower(name)]
	if !known {
		answer = "NXDOMAIN"
	}
	if err, fault := faults[answer]; fault {
		return nil, err
	}
	return strings.Split(answer, "|"), nil
}

// A message is as the MTA hands it to a milter.
type message struct {
	fields []policy.Field
	body   string
}

// parse cuts a message with CRLF into fields, values beginning right after the
// colon, and body.
func parse(raw string) message {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	var m message
	for line := range strings.SplitSeq(head, "\r\n") {
		if line[0] == ' ' || line[0] == '\t' {
			m.fields[len(m.fields)-1].Value += "\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		m.fields = append(m.fields, policy.Field{Name: name, Value: value})
	}
	m.body = body
	return m
}

// verify runs a message through a Check in one piece.
func verify(t testing.TB, m message, dns LookupTXT) []policy.DKIM {
	t.Helper()
	return verifyIn(t, m, dns, len(m.body)+1)
}

// verifyIn runs a message through a Check in chunks of a size.
func verifyIn(t testing.TB, m message, dns LookupTXT, size int) []policy.DKIM {
	t.Helper()
	return verifyWith(t, m, dns, size, func(*Check) {})
}

// verifyAsItComes does that too, but has the signatures verified as if there were
// more body than is held.
func verifyAsItComes(t testing.TB, m message, dns LookupTXT, size int) []policy.DKIM {
	t.Helper()
	return verifyWith(t, m, dns, size, func(c *Check) {
		if c.refused == nil {
			c.handOver()
		}
	})
}

func verifyWith(t testing.TB, m message, dns LookupTXT, size int, written func(*Check)) []policy.DKIM {
	t.Helper()
	fields := slices.Clone(m.fields)
	c := Begin(t.Context(), fields, dns, Limits{})
	clear(fields) // the caller's again
	written(c)
	for rest := []byte(m.body); len(rest) > 0; {
		n, err := c.Write(rest[:min(size, len(rest))])
		if n != min(size, len(rest)) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
		clear(rest[:n])
		rest = rest[n:]
		written(c)
	}
	return c.Finish(t.Context())
}

// readMessage gives a message of the test data.
func readMessage(t testing.TB, name string) message {
	t.Helper()
	return parse(crlf(string(must(os.ReadFile(filepath.Join("testdata", "messages", name+".eml"))))))
}

func readKeys(t testing.TB) zone {
	t.Helper()
	z := make(zone)
	for line := range strings.Lines(string(must(os.ReadFile(filepath.Join("testdata", "keys.txt"))))) {
		name, record, _ := strings.Cut(strings.TrimSpace(line), " ")
		z[name] = record
	}
	return z
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The keys with which tests sign: rsa._domainkey.example.org and
// ed._domainkey.example.org.
var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	edKey  = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
)

func ownKeys() zone {
	return zone{
		"rsa._domainkey.example.org": rsaRecord(&rsaKey().PublicKey),
		"ed._domainkey.example.org":  "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(edKey.Public().(ed25519.PublicKey)),
	}
}

func rsaRecord(public *rsa.PublicKey) string {
	return "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(must(x509.MarshalPKIXPublicKey(public)))
}

// rsaOf makes the record of a key with so many bits, which has no private half.
func rsaOf(bits int) string {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return rsaRecord(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537})
}

// sign signs a message with the library's signer: selector "rsa" or "ed",
// canonicalisation "simple/relaxed" and the like.
func sign(raw, selector, canonical string) string {
	return signWith(raw, selector, canonical, signer.SignOptions{})
}

func signWith(raw, selector, canonical string, options signer.SignOptions) string {
	header, body, _ := strings.Cut(canonical, "/")
	options.Domain = "example.org"
	options.Selector = selector
	options.Signer = map[string]crypto.Signer{"rsa": rsaKey(), "ed": edKey}[selector]
	options.HeaderCanonicalization = signer.Canonicalization(header)
	options.BodyCanonicalization = signer.Canonicalization(body)
	var signed bytes.Buffer
	if err := signer.Sign(&signed, strings.NewReader(raw), &options); err != nil {
		panic(err)
	}
	return signed.String()
}

// plain is a message to sign.
const plain = "From: Joe <joe@example.org>\r\n" +
	"To: Suzie <suzie@example.net>,\r\n\tanother\r\n  <a@example.net>\r\n" +
	"Subject: Grüße\r\n" +
	"\r\n" +
	"Hi.\r\n\r\nAre  you hungry \t yet?\r\n"
