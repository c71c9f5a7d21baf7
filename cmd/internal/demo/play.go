package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"gatemilter/cmd/internal/lab"
)

// A result is what became of a scene.
type result struct {
	scene
	answer    string
	delivered []lab.Message
	left      *departure // nil: it did not
	log       logLine
}

// playAll plays scenes one after the other.
func (s *stage) playAll(ctx context.Context, scenes []scene) ([]result, error) {
	var all []result
	for _, sc := range scenes {
		r, err := s.play(ctx, sc)
		if err != nil {
			return nil, fmt.Errorf("message %q: %w", sc.title, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// play sends the message of a scene and looks what became of it.
func (s *stage) play(ctx context.Context, sc scene) (result, error) {
	r := result{scene: sc}
	c, err := s.connect(ctx, sc)
	if err != nil {
		return r, err
	}
	defer c.Close()
	t, err := c.Send(lab.Envelope{From: sc.sender(), To: strings.Fields(sc.to)}, sc.message())
	if err != nil {
		return r, err
	}
	if _, err := c.Quit(); err != nil {
		return r, err
	}
	r.answer = answer(t)
	if err := s.postfix.WaitIdle(ctx); err != nil {
		return r, err
	}
	if r.delivered, err = s.delivered(sc); err != nil {
		return r, err
	}
	if r.left = s.hosts.departure(sc); r.left == nil && s.hosts != nil && t.End.OK() {
		return r, fmt.Errorf("it does not leave:\n%s", s.postfix.Log())
	}
	r.log, err = s.logged(ctx, func(l logLine) bool { return l.Sender == sc.sender() && l.Login == sc.from.login })
	return r, err
}

// delivered returns what the mailboxes got of a scene.
func (s *stage) delivered(sc scene) (found []lab.Message, err error) {
	for _, to := range strings.Fields(sc.to) {
		messages, err := s.postfix.Mailbox(to)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if slices.Equal(m.Values("Subject"), []string{sc.title}) {
				found = append(found, m)
			}
		}
	}
	return found, nil
}

// connect opens an SMTP session in the name of the scene's client.
func (s *stage) connect(ctx context.Context, sc scene) (*lab.Client, error) {
	c, err := lab.Dial(ctx, s.postfix.Addr())
	if err != nil {
		return nil, err
	}
	steps := []func() (lab.Reply, error){
		func() (lab.Reply, error) { return c.Ehlo("demo") },
		func() (lab.Reply, error) {
			return c.XClient(lab.Identity{Addr: sc.from.addr(), Name: sc.from.name, Login: sc.from.login})
		},
		func() (lab.Reply, error) { return c.Ehlo(sc.from.name) },
	}
	if sc.tls {
		steps = append(steps,
			func() (lab.Reply, error) {
				return c.StartTLS(&tls.Config{RootCAs: s.ca.Pool(), ServerName: "mx.lab.test"})
			},
			func() (lab.Reply, error) { return c.Ehlo(sc.from.name) })
	}
	for _, step := range steps {
		if r, err := step(); err != nil || !r.OK() {
			c.Close()
			return nil, fmt.Errorf("SMTP session: reply %v, error %v", r, err)
		}
	}
	return c, nil
}

// answer is the reply that decided the message, and those on refused recipients.
func answer(t lab.Transaction) string {
	if !t.Mail.OK() {
		return short(t.Mail)
	}
	var refused []string
	for _, r := range t.Rcpt {
		if !r.OK() {
			refused = append(refused, short(r))
		}
	}
	switch {
	case len(refused) == 0:
		return short(t.End)
	case len(refused) == len(t.Rcpt):
		return refused[0]
	}
	return short(t.End) + fmt.Sprintf("; %d of %d: %s", len(refused), len(t.Rcpt), refused[0])
}

func short(r lab.Reply) string {
	if r.OK() {
		return fmt.Sprint(r.Code, " taken")
	}
	return fmt.Sprintf("%d %s", r.Code, r.Enhanced)
}
