package policy

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// The fields by which a message is marked as spam for the user's filter. Incoming
// ones are forged, or replaced by ours.
const (
	fieldSpamFlag   = "X-Spam-Flag"
	fieldSpamStatus = "X-Spam-Status"
	// ownPrefix begins the names of all fields that only we may set.
	ownPrefix = "X-Gatemilter-"
)

// matching returns the indexes of the fields that the expression matches.
func matching(e *Expression, header []Field) []int {
	var found []int
	var line []byte
	for i := range header {
		line = header[i].Line(line[:0])
		if _, ok := e.Match(line); ok {
			found = append(found, i)
		}
	}
	return found
}

// judgeSpam reads the tags of the gateway that vouches for the message, and
// decides what happens if it is spam. Tags on other mail mean nothing.
func (p *Policy) judgeSpam(ctx context.Context, g *gateway, header []Field, v *Verdict) {
	if g == nil || g.SpamHeader == nil {
		return
	}
	spam, reasons, err := ReadTags(ctx, g.SpamHeader, g.SpamScore, header)
	v.Spam, v.Reasons = spam, append(v.Reasons, reasons...)
	if err != nil {
		*v = v.refuse(refuse(Reply{451, "4.3.0", "message could not be examined in time, try again later"},
			Reason{TimeLimit, "the time limit for one message ran out"}))
		return
	}
	if v.Spam.IsSpam && p.allowlists(v.Source) {
		v.Spam.IsSpam = false
		v.note(Allowlisted, "source "+v.Source.IP.String()+" is in the allowlist: not spam")
	}
	if !v.Spam.IsSpam {
		return
	}
	switch g.SpamAction {
	case SpamQuarantine:
		v.Action = Quarantine
	case SpamReject:
		v.Action = Reject
		v.Reply = Reply{550, "5.7.1", "message was marked as spam by the inbound gateway"}
	case SpamDiscard:
		v.Action = Discard
	}
}

// allowlists says whether mail from the source is never spam. A gateway in the
// list has no effect: as source it stands for senders that it could not tell.
func (p *Policy) allowlists(s Source) bool {
	return s.IP.IsValid() && p.allow.Contains(s.IP) && !p.isGateway(s.IP)
}

// ReadTags looks for a gateway's tag in every field. Without a threshold, any match
// is spam; with one, the highest score of all matches counts, and the
// expression must have one capture group (see [Expression.CheckScoring]). The
// error is that of ctx if it ended first: an expression may take seconds
// for one hostile field of full length.
func ReadTags(ctx context.Context, e *Expression, threshold *float64, header []Field) (Spam, []Reason, error) {
	var spam Spam
	var unreadable []Reason
	var line []byte
	for i := range header {
		if err := ctx.Err(); err != nil {
			return Spam{}, nil, err
		}
		line = header[i].Line(line[:0])
		capture, ok := e.Match(line)
		if !ok {
			continue
		}
		if threshold == nil {
			return Spam{IsSpam: true, Matched: shown(line)}, []Reason{{SpamTagged, "the gateway's tag matches spam_header"}}, nil
		}
		score, err := ParseScore(capture)
		switch {
		case err != nil && unreadable == nil:
			unreadable = []Reason{{ScoreUnreadable, "score " + err.Error()}}
		case err == nil && (!spam.Scored || score > spam.Score):
			spam = Spam{Scored: true, Score: score, Threshold: *threshold, IsSpam: score >= *threshold, Matched: shown(line)}
		}
	}
	switch {
	case spam.Scored:
		return spam, append(unreadable, Reason{SpamScore, "score " + FormatScore(spam.Score) + compare(spam.IsSpam) + FormatScore(spam.Threshold)}), nil
	case unreadable != nil:
		return spam, unreadable, nil
	}
	return spam, []Reason{{SpamNotTagged, "no field matches spam_header"}}, nil
}

func compare(isSpam bool) string {
	if isSpam {
		return " reaches spam_score "
	}
	return " is below spam_score "
}

// FormatScore writes a score with two decimals at least.
func FormatScore(score float64) string {
	s := strconv.FormatFloat(score, 'f', -1, 64)
	if _, decimals, _ := strings.Cut(s, "."); len(decimals) < 2 {
		return strconv.FormatFloat(score, 'f', 2, 64)
	}
	return s
}

// shown is the part of a header line that verdicts keep.
func shown(line []byte) string { return cut(string(line[:min(len(line), 512)]), 256) }

// maxForged is the number of forged fields that are removed from a message. No
// honest message has more than a few, and the mail server searches
// the whole header again for each.
const maxForged = 100

// edit decides on the changes to a message that goes on: forged fields and the
// gateway's secret are removed, spam is marked.
func (p *Policy) edit(g *gateway, header []Field, v *Verdict) {
	if len(p.gateways) == 0 {
		return
	}
	remove := forgedFields(g, header)
	if n := len(remove); n > 0 {
		v.note(ForgedField, fields(n)+" that only this server may set")
	}
	if g != nil && g.RequireHeader != nil {
		secret := matching(g.RequireHeader, header)
		v.note(SecretField, fields(len(secret))+" with the gateway's secret")
		remove = append(remove, secret...)
		slices.Sort(remove)
		remove = slices.Compact(remove)
	}
	if len(remove) > maxForged {
		*v = v.refuse(refuse(Reply{554, "5.6.0", "message has too many header fields that only this server may set"},
			Reason{TooManyForged, "more than " + strconv.Itoa(maxForged)}))
		return
	}
	v.Edits = deletions(header, remove)
	if v.Spam.IsSpam {
		v.Edits = append(v.Edits,
			Edit{Op: AddField, Name: fieldSpamFlag, Value: "YES"},
			Edit{Op: AddField, Name: fieldSpamStatus, Value: v.Spam.status(g.Name)})
	}
}

func fields(n int) string {
	if n == 1 {
		return "1 header field"
	}
	return strconv.Itoa(n) + " header fields"
}

// forgedFields returns the indexes of the fields that only this server may set.
func forgedFields(g *gateway, header []Field) []int {
	var found []int
	for i := range header {
		if g.forged(&header[i]) {
			found = append(found, i)
		}
	}
	return found
}

// forged says whether only this server may set such a field on mail of gateway
// g, which may be nil. A gateway for which no tag is configured may mark
// spam by the common fields itself.
func (g *gateway) forged(f *Field) bool {
	if len(f.Name) >= len(ownPrefix) && strings.EqualFold(f.Name[:len(ownPrefix)], ownPrefix) {
		return true
	}
	if g != nil && g.SpamHeader == nil {
		return false
	}
	return f.Is(fieldSpamFlag) || f.Is(fieldSpamStatus)
}

// status is the value of X-Spam-Status, in the form in which SpamAssassin writes it.
func (s Spam) status(gateway string) string {
	if !s.Scored {
		return "Yes, gateway=" + gateway
	}
	return "Yes, score=" + FormatScore(s.Score) + " required=" + FormatScore(s.Threshold) + " gateway=" + gateway
}

// deletions removes the fields at these ascending indexes. Each name is deleted
// from its last field to its first: a deletion shifts those beneath it.
func deletions(header []Field, remove []int) []Edit {
	if len(remove) == 0 {
		return nil
	}
	edits := make([]Edit, 0, len(remove)+2)
	seen := make(map[string]int)
	next := 0
	for i := range header {
		if next == len(remove) {
			break
		}
		name := strings.ToLower(trimBlanks(header[i].Name))
		seen[name]++
		if i == remove[next] {
			edits = append(edits, Edit{Op: DeleteField, Name: trimBlanks(header[i].Name), Index: seen[name]})
			next++
		}
	}
	slices.Reverse(edits)
	return edits
}
