package policy

import (
	"context"
	"strconv"
	"strings"
)

// matching returns the indexes of the fields that the expression matches. The error
// is that of ctx if it ended first.
func matching(ctx context.Context, e *Expression, header []Field) ([]int, error) {
	var found []int
	var line []byte
	for i := range header {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		line = header[i].Line(line[:0])
		if _, ok := e.Match(line); ok {
			found = append(found, i)
		}
	}
	return found, nil
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
		v.refuse(tooSlow())
		return
	}
	if v.Spam.IsSpam && p.allowlists(v.Source) {
		v.Spam.IsSpam = false
		v.note(Allowlisted, "source "+v.Source.IP.String()+" is in the allowlist: not spam")
	}
	if !v.Spam.IsSpam {
		return
	}
	v.spam(g)
}

// spam decides what happens to a message that is spam. That of no gateway is
// tagged.
func (v *Verdict) spam(g *gateway) {
	if g == nil || v.Action.Refuses() {
		return
	}
	switch g.SpamAction {
	case SpamQuarantine:
		v.Action = Quarantine
	case SpamReject:
		v.refuse(Decision{Action: Reject, Reply: Reply{550, "5.7.1", "message is considered spam"}})
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
		return spam, append(unreadable, spam.scoreReason()), nil
	case unreadable != nil:
		return spam, unreadable, nil
	}
	return spam, []Reason{{SpamNotTagged, "no field matches spam_header"}}, nil
}

func (s *Spam) scoreReason() Reason {
	if s.IsSpam {
		return Reason{SpamScoreReached, "score " + FormatScore(s.Score) + " reaches spam_score " + FormatScore(s.Threshold)}
	}
	return Reason{SpamScoreBelow, "score " + FormatScore(s.Score) + " is below spam_score " + FormatScore(s.Threshold)}
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
