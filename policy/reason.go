package policy

// A Reason is a rule that spoke. Text says what it saw, in words that are for
// the administrator only; it may hold bytes from the message and has to be
// escaped where it is shown.
type Reason struct {
	Code Code
	Text string
}

// A Code names a rule. Logs, metrics and explanations all use these words.
type Code string

// The rules.
const (
	ExemptLogin        Code = "exempt-login"
	ExemptLocal        Code = "exempt-local"
	ExemptInternal     Code = "exempt-internal-network"
	FromGateway        Code = "from-gateway"
	NotFromGateway     Code = "not-from-gateway"
	LikelyGateway      Code = "likely-missing-gateway"
	CertificateMissing Code = "gateway-certificate-missing"
	SecretMissing      Code = "gateway-secret-missing"
	TLSMissing         Code = "tls-missing"
	TLSTooOld          Code = "tls-too-old"
	AroundGateway      Code = "around-gateway"
	OtherGateway       Code = "other-gateway"
	UnknownClient      Code = "unknown-client"
	UnrecognisedHop    Code = "unrecognised-hop"
	SourceFound        Code = "source-external"
	SourceInternal     Code = "source-internal"
	SourceFallback     Code = "source-fallback"
	SpamTagged         Code = "spam-tagged"
	SpamNotTagged      Code = "spam-not-tagged"
	SpamScoreReached   Code = "spam-score-reached"
	SpamScoreBelow     Code = "spam-score-below"
	ScoreUnreadable    Code = "spam-score-unreadable"
	Allowlisted        Code = "allowlisted"
	ForgedField        Code = "forged-field-removed"
	SecretField        Code = "secret-field-removed"
	ForgedRefused      Code = "forged-fields-refused"
	DMARCReject        Code = "dmarc-reject"
	DMARCQuarantine    Code = "dmarc-quarantine"
	LocalFilterSkipped Code = "local-filter-skipped"
	UnknownSender      Code = "unknown-sender"
	ByUserGateway      Code = "user-gateway"
	UserGatewayIgnored Code = "user-gateway-ignored"
	OnBehalf           Code = "on-behalf"
	IdentitiesUnknown  Code = "identities-unknown"
	BodyUnreadable     Code = "body-unreadable"
	TimeLimit          Code = "time-limit"
)

// Meanings says of each rule, in the order in which they are applied, what it
// means that it spoke.
var Meanings = []Reason{
	{ExemptLogin, "the client has logged in: no inbound rule applies (those on the user's addresses do)"},
	{ExemptLocal, "the message was handed over on this host: no inbound rule applies"},
	{ExemptInternal, "the client is in internal_networks: no inbound rule applies"},
	{NotFromGateway, "the client is no host of a gateway"},
	{LikelyGateway, "the client looks like a host of a gateway but is not listed"},
	{CertificateMissing, "a host of a gateway did not show the gateway's tls_certificate"},
	{SecretMissing, "mail from a host of a gateway lacks the field of require_header"},
	{TLSMissing, "a gateway that has to use TLS did not"},
	{TLSTooOld, "a gateway used a TLS version below min_tls"},
	{UnknownClient, "the mail server did not tell the client's address"},
	{AroundGateway, "mail for a domain behind a gateway came another way (reject_other)"},
	{OtherGateway, "a recipient is behind another gateway than the message: the sender tries it again separately"},
	{FromGateway, "the client is a host of the gateway"},
	{UnrecognisedHop, "the search for the source passed a Received field that it could not read"},
	{SourceFound, "the source is an address outside of the gateways"},
	{SourceInternal, "no hop is outside of the gateways and private networks"},
	{SourceFallback, "the source could not be read, so the client counts"},
	{SpamTagged, "the gateway tagged the message as spam"},
	{SpamNotTagged, "no field matches the gateway's spam_header"},
	{SpamScoreReached, "the gateway's score is spam_score or more: spam"},
	{SpamScoreBelow, "the gateway's score is below spam_score: not spam"},
	{ScoreUnreadable, "what spam_header captured is no number"},
	{Allowlisted, "the source is in the allowlist: not spam"},
	{DMARCReject, "DMARC fails, the author's domain asks to reject, and dmarc = enforce"},
	{DMARCQuarantine, "the author's domain asks to quarantine mail that fails DMARC, or From is malformed, and dmarc = enforce: spam"},
	{ForgedField, "fields that only this server may set were removed"},
	{ForgedRefused, "the message has more forged fields than any honest one, or one that can't be removed"},
	{SecretField, "fields with a gateway's secret were removed"},
	{LocalFilterSkipped, "the local spam filter is told to leave the message alone (spam_evaluation = gateway-only)"},
	{UnknownSender, "From or the envelope sender is not an address of the user who logged in (unknown_sender)"},
	{ByUserGateway, "the message leaves by the user's own server for its From address"},
	{UserGatewayIgnored, "the user has a server of his own for this From address, but allow_user_gateways = no"},
	{OnBehalf, "the domain's servers send it as an address that is not theirs: the account's is the envelope sender, and in Sender"},
	{IdentitiesUnknown, "the database with users' addresses has not been reached since the start, and there is no copy of it: who may write as what is not known yet"},
	{BodyUnreadable, "the body could not be read"},
	{TimeLimit, "the decision took too long"},
}

// Meaning says what it means that the rule spoke.
func (c Code) Meaning() string {
	for _, m := range Meanings {
		if m.Code == c {
			return m.Text
		}
	}
	return ""
}
