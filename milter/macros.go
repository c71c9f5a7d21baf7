package milter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"gatemilter/policy"
)

// Limits of one stage's macros. MTAs send at most 50 for a stage; the longest
// hold an address or the subject of a certificate.
const (
	maxMacros     = 128
	maxMacroBytes = 32 << 10
)

// Macros are the values that the MTA attached to the stages of a session: the
// login, the TLS version, the queue id. Those of CONNECT and HELO live as long
// as the session (a later HELO replaces the earlier one's), those of a message
// as long as the message.
type Macros struct {
	// stages hold what came with each stage: name, NUL, value, NUL, and so on.
	stages [len(stageOrder)][]byte
	// fresh marks the stages whose command is still to come.
	fresh [len(stageOrder)]bool
}

// stageOrder are the commands to which macros belong, in the order in which
// they come. The stages from messageStage on belong to a message.
const (
	stageOrder   = "CHMRTLNBE"
	messageStage = 2
)

// keptMacroBytes is what a stage may keep between messages for the next one.
const keptMacroBytes = 1 << 10

// Get returns the value of a macro, or "" when it was not sent. Names are
// written as in the MTA's manual: "i", "{tls_version}". The latest stage that
// has the macro counts.
func (m *Macros) Get(name string) string {
	name = bareMacro(name)
	for s := len(m.stages) - 1; s >= 0; s-- {
		for rest := m.stages[s]; len(rest) > 0; {
			var n, v []byte
			n, rest, _ = bytes.Cut(rest, nul)
			v, rest, _ = bytes.Cut(rest, nul)
			if bareMacro(string(n)) == name {
				return string(v)
			}
		}
	}
	return ""
}

// bareMacro removes the braces around a name. MTAs write "i" and "{mail_addr}",
// but "{i}" is the same macro.
func bareMacro(name string) string {
	if strings.HasPrefix(name, "{") && strings.HasSuffix(name, "}") {
		return name[1 : len(name)-1]
	}
	return name
}

// set keeps the macros that were sent ahead of a command.
func (m *Macros) set(data []byte) error {
	if len(data) == 0 {
		return errors.New("macros without a stage")
	}
	pairs := data[1:]
	n := bytes.Count(pairs, nul)
	switch {
	case n%2 != 0 || len(pairs) > 0 && pairs[len(pairs)-1] != 0:
		return errors.New("macros that are not pairs of name and value")
	case n/2 > maxMacros:
		return fmt.Errorf("%d macros for one stage, limit %d", n/2, maxMacros)
	}
	// The protocol allows macros at any time: those of another stage (an
	// unknown command) are nobody's concern.
	if s := strings.IndexByte(stageOrder, data[0]); s >= 0 {
		m.stages[s] = append(m.stages[s][:0], pairs...)
		m.fresh[s] = true
	}
	return nil
}

// begin says that a command has come. Without macros of its own it must not
// inherit those of an earlier one: a second recipient is not the first. Nor may
// the later stages of the message, which have not begun again.
func (m *Macros) begin(command byte) {
	s := strings.IndexByte(stageOrder, command)
	if s < 0 {
		return
	}
	if !m.fresh[s] {
		m.drop(s)
	}
	m.fresh = [len(stageOrder)]bool{}
	m.forget(max(s+1, messageStage))
}

// endMessage drops the macros of a message, but not those that have come ahead
// of the next MAIL.
func (m *Macros) endMessage() { m.forget(messageStage) }

// forget drops the macros from a stage on, but not those of a command to come.
func (m *Macros) forget(from int) {
	for s := from; s < len(m.stages); s++ {
		if !m.fresh[s] {
			m.drop(s)
		}
	}
}

func (m *Macros) drop(s int) {
	m.stages[s] = m.stages[s][:0]
	if cap(m.stages[s]) > keptMacroBytes {
		m.stages[s] = nil
	}
}

// fromSendmail says whether the MTA is Sendmail: Postfix begins its version (v) with its
// name.
func (m *Macros) fromSendmail() bool {
	version := m.Get("v")
	return version != "" && !strings.HasPrefix(version, "Postfix")
}

// login returns the name by which the client has authenticated, or "". Sendmail encodes it
// as xtext.
func (m *Macros) login() string {
	login := m.Get("{auth_authen}")
	if m.fromSendmail() {
		return policy.DecodeXtext(login)
	}
	return login
}
