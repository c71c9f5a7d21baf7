package lab

import "strings"

// usual are the replies to commands, where Answer has no other and the state of the session demands none; to all else it
// is sinkDefault.
var usual = map[string]string{
	"": "220 sink.lab.test ESMTP", "STARTTLS": "220 2.0.0 ready", "DATA": "354 go on", "QUIT": "221 2.0.0 bye",
}

const sinkDefault = "250 2.0.0 fine"

// choose returns the reply to a command.
func (c *sinkConn) choose(verb, line string) string {
	if reply := c.told(line); reply != "" {
		return reply
	}
	switch verb {
	case "EHLO":
		return c.ehlo()
	case "STARTTLS":
		if !c.offersTLS() {
			return "502 5.5.1 Error: STARTTLS is not offered"
		}
	case "MAIL", "RCPT", "DATA":
		if c.lacksLogin() {
			return "530 5.7.0 Authentication required"
		}
		if verb != "MAIL" && c.current == noMail {
			return "503 5.5.1 Error: need MAIL command"
		}
	}
	if reply, ok := usual[verb]; ok {
		return reply
	}
	return sinkDefault
}

// told is the reply that Answer demands, or "".
func (c *sinkConn) told(line string) string {
	c.mu.Lock()
	answer := c.answer
	c.mu.Unlock()
	if answer == nil {
		return ""
	}
	return answer(line)
}

// ehlo is the name of the host and what it offers, line by line.
func (c *sinkConn) ehlo() string {
	lines := []string{"sink.lab.test"}
	if c.offersTLS() {
		lines = append(lines, "STARTTLS")
	}
	if c.offersAuth() {
		lines = append(lines, "AUTH PLAIN LOGIN")
	}
	if c.config.SMTPUTF8 {
		lines = append(lines, "8BITMIME", "SMTPUTF8") // the second needs the first (RFC 6531 section 3.1)
	}
	return strings.ReplaceAll(Reply{Code: 250, Text: strings.Join(lines, "\n")}.String(), "\n", "\r\n")
}

func (c *sinkConn) offersTLS() bool { return c.tls != nil && !c.secure }

// offersAuth says whether the client may log in: not in clear where it could use TLS.
func (c *sinkConn) offersAuth() bool { return c.config.Logins != nil && !c.offersTLS() }

func (c *sinkConn) lacksLogin() bool { return c.config.Logins != nil && !c.loggedIn }
