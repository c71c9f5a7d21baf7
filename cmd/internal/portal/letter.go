package portal

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"

	"gatemilter/cmd/internal/visible"
	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// compose writes the message (RFC 5322, RFC 2045). Nothing that answers mail by itself is to
// answer it (RFC 3834).
func (v *visit) compose(from string, r identity.Record, code string) ([]byte, error) {
	sender := mail.Address{Address: from}
	if from == r.Address {
		sender.Name = r.Name
	}
	var b bytes.Buffer
	for _, line := range [][2]string{
		{"Date", v.now().Format(time.RFC1123Z)},
		{"From", sender.String()},
		{"To", "<" + r.Address + ">"},
		{"Subject", mime.QEncoding.Encode("utf-8", v.lang.t("mail.subject", "host", v.url.Hostname()))},
		{"Message-ID", "<" + strings.ToLower(rand.Text()) + "@" + policy.Domain(from) + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"Content-Language", v.lang.Tag},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", line[0], line[1])
	}
	b.WriteString("\r\n")
	link := v.url.Scheme + "://" + v.url.Host + v.link("/confirm", "address", r.Address, "code", code)
	body := quotedprintable.NewWriter(&b)
	account := r.Account
	if r.Login != r.Account {
		account = v.lang.t("mail.login", "account", r.Account, "login", visible.Text(r.Login, maxUsername))
	}
	text := v.lang.t("mail.body", "address", r.Address, "account", account, "host", v.url.Hostname(), "code", code, "link", link)
	if _, err := body.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n"))); err != nil {
		return nil, err
	}
	return b.Bytes(), body.Close()
}
