package lab

// An Envelope is the sender and the recipients of one message, without angle brackets.
type Envelope struct {
	From string
	To   []string
}

// A Transaction is the server's reply to each stage of one message. Stages that were not reached have a zero Reply.
type Transaction struct {
	Mail Reply
	Rcpt []Reply // one for each of Envelope.To
	Data Reply
	End  Reply // after the message's last line: whether it was accepted
}

// Send sends one message to those recipients that the server accepts. Where the transaction stops early, it is
// reset, so that the connection can go on with the next message.
func (c *Client) Send(e Envelope, message string) (t Transaction, err error) {
	if t.Mail, err = c.Mail(e.From); err != nil || !t.Mail.OK() {
		return t, err
	}
	accepted := false
	for _, to := range e.To {
		r, err := c.Rcpt(to)
		if err != nil {
			return t, err
		}
		t.Rcpt = append(t.Rcpt, r)
		accepted = accepted || r.OK()
	}
	if accepted {
		if t.Data, t.End, err = c.Data(message); err != nil || t.Data.Code == 354 {
			return t, err
		}
	}
	_, err = c.Reset()
	return t, err
}
