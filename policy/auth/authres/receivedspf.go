package authres

import (
	"strings"

	"gatemilter/policy"
)

// ReceivedSPF returns the body of a Received-SPF field (RFC 7208, section 9.1),
// folded with "\n\t", or "" where there is no SPF result. The receiver is the name
// of the host that checked.
func ReceivedSPF(s policy.SPF, receiver string) string {
	if !isResult(s.Result) || s.Result == policy.AuthPolicy {
		return ""
	}
	receiver = authservID(receiver)
	var w writer
	w.start("Received-SPF: ", string(s.Result))
	explanation := receiver
	if reason := prose(s.Reason); reason != "" {
		explanation += ": " + reason
	}
	w.word("(" + explanation + ")")
	pairs := []string{"receiver=" + receiver}
	add := func(key, value string) {
		if isDotAtom(value) {
			pairs = append(pairs, key+"="+value)
		} else if value != "" {
			pairs = append(pairs, key+`="`+value+`"`)
		}
	}
	if s.IP.IsValid() {
		add("client-ip", s.IP.WithZone("").String())
	}
	add("identity", domain(s.Identity))
	if sender := mailbox(s.Sender); !strings.HasPrefix(sender, "@") {
		add("envelope-from", sender)
	}
	add("helo", domain(s.HELO))
	last := len(pairs) - 1
	for _, pair := range pairs[:last] {
		w.word(pair + ";")
	}
	w.word(pairs[last])
	return w.String()
}
