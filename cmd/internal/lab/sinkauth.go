package lab

import (
	"encoding/base64"
	"strings"
)

// challenges are what a mechanism asks for, one by one. The client may answer the first with the command itself: its
// initial response.
var challenges = map[string][]string{
	"PLAIN": {""},                       // RFC 4616
	"LOGIN": {"Username:", "Password:"}, // in no standard, but in use everywhere
}

const notUnderstood = "501 5.5.2 Error: malformed authentication response"

// A saslExchange is an AUTH command with the challenges and responses that follow it (RFC 4954 section 4).
type saslExchange struct {
	*sinkConn
	number    int    // in attempts
	mechanism string // in capitals
	heard     int    // how many responses came
	failure   string // reply that ends it; "" while nothing is wrong
}

// auth does the exchange that a line with AUTH starts. It says whether the session goes on.
func (c *sinkConn) auth(line string) bool {
	x := c.newExchange()
	for reply := x.start(line); ; reply = x.next() {
		if reply[0] == '2' {
			x.accept()
		}
		if !c.say(reply) {
			return false
		}
		if !strings.HasPrefix(reply, "334") {
			return true
		}
		response, err := readLine(c.r)
		if err != nil {
			return false
		}
		x.hear(response)
	}
}

// newExchange remembers an attempt before anything is known of it: the client may leave at any point.
func (c *sinkConn) newExchange() *saslExchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts = append(c.attempts, Attempt{TLS: c.secure})
	return &saslExchange{sinkConn: c, number: len(c.attempts) - 1}
}

// start returns the reply to the command. What came with it is remembered even where it is refused: it was shown.
func (x *saslExchange) start(line string) string {
	words := strings.Fields(line)
	if len(words) > 1 {
		x.mechanism = strings.ToUpper(words[1])
	}
	if len(words) > 2 {
		x.hear(strings.TrimPrefix(words[2], "=")) // "=" stands for an empty one, which the line could not show
	}
	if reply := x.told(line); reply != "" {
		return reply
	}
	switch {
	case x.config.Logins == nil:
		return "503 5.5.1 Error: authentication not enabled"
	case x.loggedIn:
		return "503 5.5.1 Error: already authenticated"
	case !x.offersAuth():
		return "504 5.5.4 Error: authentication only with TLS"
	case len(words) != 2 && len(words) != 3:
		return "501 5.5.4 Syntax: AUTH mechanism [initial-response]"
	case challenges[x.mechanism] == nil:
		return "504 5.5.4 Error: unknown authentication mechanism"
	}
	return x.next()
}

// hear takes a response.
func (x *saslExchange) hear(response string) {
	text, err := base64.StdEncoding.DecodeString(response)
	switch {
	case response == "*":
		x.failure = "501 5.7.0 Authentication cancelled"
	case err != nil:
		x.failure = notUnderstood
	default:
		x.attempt(func(a *Attempt) { x.understand(a, string(text)) })
	}
	x.heard++
}

// understand notes what a response tells.
func (x *saslExchange) understand(a *Attempt, text string) {
	switch {
	case x.mechanism == "PLAIN":
		parts := strings.Split(text, "\x00") // the first is the identity to act as, which changes nothing here
		if len(parts) != 3 {
			x.failure = notUnderstood
			return
		}
		a.Username, a.Password = parts[1], parts[2]
	case x.mechanism == "LOGIN" && x.heard == 0:
		a.Username = text
	case x.mechanism == "LOGIN":
		a.Password = text
	}
}

// next returns what is to be said after a response: a challenge, or how it ends.
func (x *saslExchange) next() string {
	asked := challenges[x.mechanism]
	switch {
	case x.failure != "":
		return x.failure
	case x.heard < len(asked):
		return "334 " + base64.StdEncoding.EncodeToString([]byte(asked[x.heard]))
	}
	shown := x.attempt(func(*Attempt) {})
	if password, known := x.config.Logins[shown.Username]; known && password == shown.Password {
		return "235 2.7.0 Authentication successful"
	}
	return "535 5.7.8 Error: authentication failed"
}

// accept logs the client in. Neither it nor a test that looks at Attempts knows before that is done.
func (x *saslExchange) accept() {
	x.loggedIn = true
	x.login = x.attempt(func(a *Attempt) { a.Accepted = true }).Username
}

// attempt changes what is remembered, and returns it.
func (x *saslExchange) attempt(f func(*Attempt)) Attempt {
	x.mu.Lock()
	defer x.mu.Unlock()
	f(&x.attempts[x.number])
	return x.attempts[x.number]
}
