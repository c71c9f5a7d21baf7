// Package admin shows over HTTP what the daemon does, to monitoring and to people. It has
// four pages, and nothing else; none changes anything.
//
//	/metrics   numbers for Prometheus, in its text format
//	/healthz   200 as long as the process answers at all
//	/readyz    200 while it serves the mail server, else 503 and why it doesn't
//	/          one page for people: now, and the last hour
//
// # Health and readiness
//
// The difference is what follows from them. A process that is not healthy is to be started
// again, and one that merely stops, or whose socket somebody has removed, would gain nothing by
// that: it is healthy, but not ready. A unix socket that is gone is looked for in the file
// system: the process can't tell otherwise that nobody reaches it any more.
//
// # Metrics
//
// Prometheus keeps one time series for each combination of a metric's labels, for as long as it
// keeps anything, so a label's values have to be few and known (https://prometheus.io/docs/practices/naming/).
// Here they are words of ours (actions, rules, results), or names that the configuration gives,
// of which each kind has a limit. Nothing that a peer has written is ever a label, and no user's
// name either: servers of users' own are counted by transport.
//
// Counters count since the start, and rates over them are Prometheus's business. States, such
// as open connections, are looked at when somebody asks.
//
// # The page
//
// It needs no JavaScript and nothing from elsewhere, and its Content-Security-Policy
// (https://www.w3.org/TR/CSP3/) allows neither. What it tells of the last hour lies in counts for
// each minute, and of decisions it keeps the last hundred: the memory for it is bounded, whatever
// mail comes. It shows of a message what the log shows: the sender, how many recipients, which rules
// spoke and what they saw; made visible and cut.
//
// # Who may see it
//
// The pages have no login, so they belong on a loopback address or a unix socket. A web page in a browser
// on this host could still send requests to that address under a name of its own (DNS rebinding);
// so on loopback the Host that is asked for has to be an address or localhost.
package admin
