// Package portal is the web application in which users attach addresses of other providers to
// their accounts, each with the mail server to which it belongs, so that nobody reads "on
// behalf of".
//
// # The way of an address
//
// The user logs in with his mail account: the portal tries name and password at the submission
// server (SMTP AUTH over verified TLS), and keeps neither. He names an address, and the server
// through which mail from it is to leave. The portal connects to that server as a delivery
// would, with TLS and a certificate that holds, logs in there, and by the same session sends a
// message with a code from the address to itself. Only then the address is stored, and only with
// the code does it become active. Where the administrator allows no servers of users' own, the
// code goes through ours.
//
// # Pages
//
// They are HTML forms with one style sheet, and no JavaScript. Whatever the user enters comes
// back to him when something is wrong with it, except passwords. All texts are in the catalogues
// (texts_en.go and its neighbours), one for each language.
//
// # What is defended, and how
//
//   - Sessions are random tokens, known here only by their hashes, and end an hour after the
//     login. A login always makes a new one.
//   - Requests that other sites cause are refused ([http.CrossOriginProtection]), as are those
//     for another host name. Nothing is changed by GET.
//   - Attempts to log in, to try a server, to have a code sent and to enter one are limited, per
//     account and per client address. Strangers can't keep a user out for good: from where he
//     has logged in before, only his own attempts count.
//   - Servers that a user names have to be on the public Internet ([tlsprobe.PublicOnly]) and
//     have one of few ports. The names that lead inside can't be told from those that don't exist.
//   - Of our own domains, a user can have only the address of his account and those that the
//     administrator lists for him. The refusal is the same whether an address exists or not.
//   - A code that a user's own server was given shows only what is his to say: that server may be one
//     that he runs, and may show him what it should have delivered. So our servers send nothing as an
//     address until a code went there by them.
//   - Nothing has more than one line that goes into a message or a log.
package portal
