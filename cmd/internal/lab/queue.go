package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A Queued is a message in the queue, as postqueue -j tells it.
type Queued struct {
	Queue      string      `json:"queue_name"` // maildrop, hold, incoming, active or deferred
	ID         string      `json:"queue_id"`
	Sender     string      `json:"sender"`
	Recipients []Recipient `json:"recipients"`
}

// A Recipient is one to whom a queued message is still to be delivered.
type Recipient struct {
	Address string `json:"address"`
	Delay   string `json:"delay_reason"` // why the last attempt failed
}

// Queue lists the messages that are not delivered yet, in no particular order.
func (p *Postfix) Queue(ctx context.Context) ([]Queued, error) {
	var out, msg bytes.Buffer
	cmd := p.Command(ctx, "postqueue", "-j")
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("postqueue -j: %w: %s", err, bytes.TrimSpace(msg.Bytes()))
	}
	var all []Queued
	for dec := json.NewDecoder(&out); ; {
		var q Queued
		if err := dec.Decode(&q); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("postqueue -j: %w", err)
		}
		all = append(all, q)
	}
}

// Flush lets the instance try all deferred mail again. It does not wait for the outcome: wait for a log line.
func (p *Postfix) Flush(ctx context.Context) error {
	return run(p.Command(ctx, "postqueue", "-f"), nil)
}

// WaitIdle waits until every message is delivered, deferred or held.
func (p *Postfix) WaitIdle(ctx context.Context) error {
	return Until(ctx, "the queue to be idle", func() bool {
		// In the order in which a message moves, so that none slips by; and twice, as a bounce starts again in
		// incoming before the message that it is about has left active.
		for range 2 {
			for _, queue := range []string{"maildrop", "incoming", "active"} {
				// A queue that has no directory yet has no messages either.
				if messages, _ := os.ReadDir(filepath.Join(p.queue(), queue)); len(messages) > 0 {
					return false
				}
			}
		}
		return true
	})
}

// Mailbox returns the messages in the mailbox of address, one of Config.Mailboxes, in the order of arrival.
func (p *Postfix) Mailbox(address string) ([]Message, error) {
	if err := checkMailbox(address); err != nil {
		return nil, err
	}
	return readMaildir(filepath.Join(p.mail(), maildir(address)))
}
