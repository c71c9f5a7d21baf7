// Package dmarc compares what SPF and DKIM authenticated with the domain that a
// message shows as its author's, and says what that domain's owner asks for mail
// that fails (RFC 9989, which replaces RFC 7489).
//
// # The subject
//
// SPF authenticates the envelope sender, DKIM a signing domain. The reader of a
// message sees neither: he sees From. DMARC asks whether one of the
// authenticated domains is aligned with the author domain, that of From: the
// same name (strict) or of the same organisational domain (relaxed). If none
// is, the message fails, and the policy in the author's record (TXT at
// _dmarc.DOMAIN) says whether to do nothing, to quarantine or to reject.
//
// # Discovery
//
// Where one organisation ends and the next begins is asked of the DNS itself:
// the tree walk (section 4.10) queries the records of a domain and of those
// above it, at most eight queries for any name. The organisational domain is
// the one whose record says psd=n, or the one below a record that says psd=y, or
// else the highest with a record (section 4.10.2). There is no list of public
// suffixes. The record that applies is that of the author domain, else that of
// its organisational domain, else that of the public suffix above (section
// 4.10.1); from above, sp holds, or np for a name that doesn't exist.
//
// # Decisions
//
// Where the RFC leaves a choice:
//
//   - A From field that is missing, repeated or malformed gives permerror: a
//     spoofer gains nothing by it that could be called a result (section 11.5).
//     So does one that names no address ("Your bank:;", RFC 6854): the reader is
//     shown an author for whom nobody can be asked.
//   - Of several author domains each is evaluated, at the same time and with its
//     own share of the queries, so that none takes anything from the others. The
//     worst result counts: a failure whose policy is reject, then quarantine
//     (section 11.5), then an author who can't be judged now, then a failure whose
//     policy is none, then no record; pass only if all pass.
//   - DNS trouble gives temperror, unless an aligned domain passes nevertheless.
//     So does SPF or DKIM trouble, if the domain in trouble would be aligned:
//     else any signature of a domain without name servers would undo a failure.
//     Among several authors trouble gives permerror: else a second author with
//     slow name servers would undo the failure of the first.
//   - The author's record and policy come before all else. Domains for which no
//     query is left then, of which only a spoofer has so many, are not aligned.
//   - The envelope sender of a bounce is, for SPF and so for DMARC, the HELO
//     name (RFC 7208, section 2.4).
//   - A name without A, AAAA, MX and TXT records doesn't exist. The RFC
//     (section 3.2.13) says NXDOMAIN, which the resolver's interface does not
//     tell from a lack of records.
//   - RFC 9989 has no tag pct any more, since receivers agreed on nothing but 0
//     and 100 (appendix A.6). Records still have it: pct=0 is read as t=y, by
//     which the RFC replaced it, and any other value is ignored. A sample
//     drawn by chance would also give two copies of a message different ends.
//   - Reports aren't sent: rua counts only where it rescues a record whose policy
//     can't be read (section 4.10.1); ruf, fo, rf and ri are not looked at.
package dmarc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"gatemilter/policy"
)

// A Resolver asks the DNS, for several goroutines at once. Errors are
// *net.DNSError: IsNotFound for a name without such records, all others for
// trouble that may pass. *net.Resolver is one.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
}

// Input is what DMARC needs to know of a message.
type Input struct {
	// From holds the body of every From field, folded or not.
	From []string
	SPF  policy.SPF
	DKIM []policy.DKIM
}

// Evaluate checks a message. The number of its DNS queries is bounded, whatever
// the message holds. Trouble is a result, never an error.
func Evaluate(ctx context.Context, dns Resolver, in Input) policy.DMARC {
	authors, err := authorDomains(in.From)
	if err != nil {
		return policy.DMARC{Result: policy.AuthPermError, Reason: shorten(err.Error())}
	}
	ids := identifiers(in)
	if len(authors) == 1 {
		return judge(ctx, dns, authors[0], ids, maxQueries)
	}
	results := make([]policy.DMARC, len(authors))
	var wg sync.WaitGroup
	for i, author := range authors {
		wg.Go(func() { results[i] = oneOfSeveral(judge(ctx, dns, author, ids, maxQueries/len(authors))) })
	}
	wg.Wait()
	return slices.MaxFunc(results, func(a, b policy.DMARC) int { return cmp.Compare(severity(a), severity(b)) })
}

// maxAuthors bounds the author domains of a message (RFC 9989, section 11.5).
const maxAuthors = 4

// authorDomains returns the domains of the authors in From, each once, in order, in
// their canonical form.
func authorDomains(from []string) ([]string, error) {
	authors, err := policy.Authors(from)
	if err != nil {
		return nil, err
	}
	var domains []string
	for _, a := range authors {
		if domain := policy.Domain(a.Address); !slices.Contains(domains, domain) {
			domains = append(domains, domain)
		}
	}
	if len(domains) > maxAuthors {
		return nil, fmt.Errorf("malformed From field: more than %d author domains", maxAuthors)
	}
	return domains, nil
}

// oneOfSeveral is the result of an author domain that is not the only one.
func oneOfSeveral(d policy.DMARC) policy.DMARC {
	if d.Result == policy.AuthTempError {
		d.Result, d.Reason = policy.AuthPermError, shorten("one of several authors can't be judged: "+d.Reason)
	}
	return d
}

// severity orders the results of several author domains, of which permerror says
// that one can't be judged.
func severity(d policy.DMARC) int {
	switch {
	case d.Result == policy.AuthPass:
		return 0
	case d.Result == policy.AuthNone:
		return 1
	case d.Result == policy.AuthFail && d.Policy == none:
		return 2
	case d.Result == policy.AuthPermError:
		return 3
	default:
		return 4 + strictness[d.Policy]
	}
}

// judge checks one author domain, with so many queries. It may have a goroutine of
// its own, where a panic would end the process: no stranger's record may do that.
func judge(ctx context.Context, dns Resolver, author string, ids []identifier, queries int) (d policy.DMARC) {
	defer func() {
		if p := recover(); p != nil {
			d = policy.DMARC{Result: policy.AuthTempError, Domain: author}
			d.Reason = trouble(fmt.Errorf("internal error, please report it: %q", fmt.Sprint(p)))
		}
	}()
	return newWalker(dns, queries).evaluate(ctx, author, ids)
}

// evaluate checks one author domain.
func (w *walker) evaluate(ctx context.Context, author string, ids []identifier) policy.DMARC {
	d := policy.DMARC{Domain: author}
	rec, err := w.applicable(ctx, author)
	switch {
	case err != nil:
		d.Result, d.Reason = policy.AuthTempError, trouble(err)
		return d
	case rec.record == nil:
		d.Result, d.Reason = policy.AuthNone, "no DMARC record"
		return d
	case !rec.usable:
		d.Result, d.RecordDomain = policy.AuthNone, rec.domain
		d.Reason = "the DMARC record has no valid policy and no rua"
		return d
	}
	d.RecordDomain = rec.domain
	var policyErr, alignErr error
	d.Policy, policyErr = w.policy(ctx, rec, author)
	d.Result, d.Reason, alignErr = w.align(ctx, rec.record, author, ids)
	if open := cmp.Or(alignErr, policyErr); d.Result == policy.AuthFail && open != nil {
		// With a question open there is neither pass nor fail (section 5.3.6).
		d.Result, d.Reason = policy.AuthTempError, trouble(open)
	}
	return d
}

// policy returns what the record asks for mail of the author domain. With an
// error it is the policy for an existing name.
func (w *walker) policy(ctx context.Context, rec found, author string) (string, error) {
	if rec.domain == author {
		return rec.effective(rec.p), nil
	}
	if rec.np == rec.sp {
		return rec.effective(rec.sp), nil
	}
	exists, err := w.exists(ctx, author)
	if err == nil && !exists {
		return rec.effective(rec.np), nil
	}
	return rec.effective(rec.sp), err
}

// An identifier is a domain that SPF or DKIM authenticated, or would have but for
// passing trouble.
type identifier struct {
	method string // "SPF" or "DKIM"
	domain string
	result policy.AuthResult
}

// identifiers lists those domains. A signature under a key in test mode counts:
// what validates is authenticated (section 4.4.1).
func identifiers(in Input) []identifier {
	var ids []identifier
	add := func(method, domain string, result policy.AuthResult) {
		domain = policy.CanonicalDomain(domain)
		if (result == policy.AuthPass || result == policy.AuthTempError) && policy.IsDomain(domain) {
			ids = append(ids, identifier{method, domain, result})
		}
	}
	add("SPF", in.SPF.Domain, in.SPF.Result)
	for _, d := range in.DKIM {
		add("DKIM", d.Domain, d.Result)
	}
	return ids
}

// align looks for an authenticated identifier that is aligned with the author
// domain. The error says that a question remained open; it matters only if the
// result is fail.
func (w *walker) align(ctx context.Context, rec *record, author string, ids []identifier) (policy.AuthResult, string, error) {
	var open error
	for _, id := range ids {
		strict := rec.strictDKIM
		if id.method == "SPF" {
			strict = rec.strictSPF
		}
		aligned, err := w.aligned(ctx, author, id.domain, strict)
		switch {
		case errors.Is(err, errBudget): // not aligned
		case err != nil:
			open = err
		case aligned && id.result == policy.AuthPass:
			return policy.AuthPass, shorten(fmt.Sprintf("%s domain is aligned: %s", id.method, id.domain)), nil
		case aligned:
			open = fmt.Errorf("%s of the aligned domain %s had a temporary error", id.method, id.domain)
		}
	}
	return policy.AuthFail, "no aligned domain passed SPF or DKIM", open
}

// aligned compares two domains (section 4.10.2). An organisational domain is
// above its domains: one that isn't below the author's needs no walk. Nor does one
// below a public suffix, where another organisation begins.
func (w *walker) aligned(ctx context.Context, author, domain string, strict bool) (bool, error) {
	if domain == author || strict {
		return domain == author, nil
	}
	org, err := w.organisational(ctx, author)
	if err != nil || !isWithin(domain, org) || w.isSuffix(org) {
		return false, err
	}
	other, err := w.organisational(ctx, domain)
	return other == org, err
}
