package check

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// Client is a credential to try, and what is known around it.
type Client struct {
	Way Way
	// NotAfter is when its secret or certificate ends, WarnFrom from when on that is near; zero when it is not known.
	NotAfter, WarnFrom time.Time
	// BaseURL is the tenant's.
	BaseURL string
	// Shown says that connections to the tenant show the credential's certificate.
	Shown bool
	// Routes are those that its identity may use.
	Routes []Route
	// Probe is a request that the operator has named, to be made with the token; nil makes none.
	Probe *Probe

	endpoint string // discovered
}

// Try makes one token request and tells of it step by step. claims are what the token says, nil when there is none or it is opaque.
func (c *Client) Try(ctx context.Context, tokens *token.Engine) (steps []Step, claims *Claims) {
	steps = append(steps, c.credential(time.Now()), c.host())
	if cred := &c.Way.Credential; cred.TokenURL == "" && cred.Issuer != "" {
		s := c.discover(ctx, tokens)
		if steps = append(steps, s); s.State == Fail {
			return steps, nil
		}
	}
	t := &trail{}
	began := time.Now()
	trial := tokens.Try(httptrace.WithClientTrace(ctx, t.hooks()), c.Way.Credential)
	if trial.Held {
		return append(steps, c.held(trial.Err)), nil
	}
	cred := &c.Way.Credential
	if !t.reached() { // the credential itself is impossible
		return append(steps, Step{Name: StepTokenRequest, State: Fail, Detail: clean(trial.Err.Error(), 300), Hint: "add the credential anew (credential add)"}), nil
	}
	steps = append(steps, c.connection(t, trial.Err)...)
	if trial.Err != nil && Worst(steps[2:]) == Fail {
		return steps, nil // the step that failed has said why
	}
	steps = append(steps, c.request(&trial, time.Since(began)))
	if clock, told := c.clock(&trial); told {
		steps = append(steps, clock)
	}
	if trial.Err != nil {
		return steps, nil
	}
	claims = readClaims(trial.Token.Value.Reveal())
	steps = append(steps, lifetime(&trial), format(&trial, claims, cred.ClientID))
	if s, told := c.binding(claims); told {
		steps = append(steps, s)
	}
	steps = append(steps, c.scopes(&trial, claims)...)
	if c.Probe != nil {
		steps = append(steps, c.Way.probe(ctx, c.Probe, trial.Token.Header()))
	}
	return steps, claims
}

// discover finds the token endpoint, which the issuer's metadata name.
func (c *Client) discover(ctx context.Context, tokens *token.Engine) Step {
	s := Step{Name: StepIssuer, State: OK}
	endpoint, err := tokens.Discover(ctx, c.Way.Credential)
	if err != nil {
		s.State, s.Detail = Fail, clean(err.Error(), 300)
		s.Hint = "is the issuer right? its metadata are at ISSUER/.well-known/openid-configuration; where it has none, give the token URL"
		return s
	}
	c.endpoint = endpoint
	s.Detail = "the metadata of " + clean(c.Way.Credential.Issuer, 160) + " name " + clean(endpoint, 160)
	return s
}

// tokenURL is the token endpoint, given or discovered.
func (c *Client) tokenURL() string { return cmp.Or(c.Way.Credential.TokenURL, c.endpoint) }

// connection tells of the way to the token endpoint.
func (c *Client) connection(t *trail, err *token.Error) []Step {
	var dialErr error
	if err != nil && err.Step == token.StepDial {
		dialErr = errors.New(err.Description)
	}
	steps := t.connection(StepTokenDNS, StepTokenTCP, c.Way.Via, dialErr)
	return append(steps, t.handshake(StepTokenTLS, c.Way.Credential.Style == token.MTLS, c.alertHint())...)
}

// reached says that a connection was begun.
func (t *trail) reached() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked != "" || !t.tcpBegun.IsZero()
}

// credential says what there is and when it ends.
func (c *Client) credential(now time.Time) Step {
	cred := &c.Way.Credential
	s := Step{Name: StepCredential, State: OK, Detail: "client " + clean(cred.ClientID, 120) + " authenticates by " + string(cred.Style)}
	left := c.NotAfter.Sub(now)
	switch {
	case c.NotAfter.IsZero() && cred.Style == token.PrivateKeyJWT:
		s.Detail += "; its key does not end by itself"
	case c.NotAfter.IsZero():
		s.Detail += "; when its secret ends is not known"
	case left <= 0:
		s.State, s.Detail = Fail, s.Detail+"; it ended on "+day(c.NotAfter)
		s.Hint = "make a new key at the vendor and add it: credential add"
	case !now.Before(c.WarnFrom):
		s.State, s.Detail = Warn, s.Detail+fmt.Sprintf("; it ends on %s, in %d days", day(c.NotAfter), int(left.Hours()/24))
		s.Hint = "make a new key at the vendor and have it take this one's place: credential rotate"
	default:
		s.Detail += "; until " + day(c.NotAfter)
	}
	return s
}

// host compares the client's plan and the routes' paths with the tenant's host.
func (c *Client) host() Step {
	if mismatch := token.PlanMismatch(c.Way.Credential.ClientID, c.BaseURL); mismatch != "" {
		return Step{Name: StepTenantHost, State: Fail, Detail: mismatch, Hint: "make a service key of the other plan, or a tenant of its own for the other host"}
	}
	for _, r := range c.Routes {
		if mismatch := token.PathMismatch(c.BaseURL, r.Path); mismatch != "" {
			return Step{Name: StepTenantHost, State: Warn, Detail: "route " + r.Name + " leads to " + clean(r.Path, 80) + ": " + mismatch,
				Hint: "lead the route to a tenant with the other base URL"}
		}
	}
	return Step{Name: StepTenantHost, State: OK, Detail: "nothing in the names speaks against " + clean(c.BaseURL, 160)}
}

// held says that nothing was tried, and until when.
func (c *Client) held(err *token.Error) Step {
	s := Step{Name: StepTokenRequest, State: Fail, Detail: clean(err.Error(), 300),
		Hint: "nothing was asked now; wait until then, or add the credential anew (credential add) when what was wrong with it is mended"}
	if err.Step != token.StepRefused {
		s.Hint = "the token server is being left alone; wait until then"
	}
	return s
}

// alertHint is for a token server that ends the handshake for want of a certificate.
func (c *Client) alertHint() string {
	if strings.Contains(c.tokenURL(), ".authentication.cert.") {
		return "this host takes certificates only: use the token URL on the host without .cert, or a credential with a certificate"
	}
	return "use a credential with a certificate (style mtls), or the token URL for secrets"
}

// request tells of the answer to the token request.
func (c *Client) request(t *token.Trial, took time.Duration) Step {
	cred := &c.Way.Credential
	s := Step{Name: StepTokenRequest, State: OK, Milliseconds: ms(took)}
	if t.Err == nil {
		s.Detail = fmt.Sprintf("client %s is accepted (%s, status %d)", clean(cred.ClientID, 120), cred.Style, t.Status)
		return s
	}
	s.State, s.Detail, s.Hint = Fail, clean(t.Err.Error(), 300), c.explain(t.Err)
	if t.Err.Step == token.StepScope {
		s.Name = StepTokenScope
	}
	return s
}

// clock compares the answer's Date with our clock: tokens carry times, and servers judge them by theirs.
func (c *Client) clock(t *token.Trial) (Step, bool) {
	if t.Date.IsZero() {
		return Step{}, false
	}
	return clockStep(t.Answered.Sub(t.Date)), true
}

const (
	clockFine = 5 * time.Second // Date has whole seconds, and the way takes its time
	clockLate = time.Minute     // leeway that servers commonly give
)

func clockStep(ahead time.Duration) Step {
	word := "ahead of"
	if ahead < 0 {
		word = "behind"
	}
	s := Step{Name: StepClock, State: OK, Detail: "this machine's clock and theirs agree"}
	if ahead.Abs() > clockFine {
		s.Detail = fmt.Sprintf("this machine's clock is %s %s theirs", ahead.Abs().Round(time.Second), word)
	}
	if ahead.Abs() > clockLate {
		s.State, s.Hint = Warn, "set this machine's clock (NTP): certificates and tokens are judged by it"
	}
	return s
}

// lifetime tells how long a token is used.
func lifetime(t *token.Trial) Step {
	s := Step{Name: StepTokenLifetime, State: OK, Detail: t.Lifetime.Round(time.Second).String()}
	switch {
	case !t.LifetimeTold:
		s.State, s.Detail = Warn, "the server does not tell (expires_in is missing or 0); tokens are used for "+s.Detail
		s.Hint = "nothing needs to be done: a token that ends earlier costs one refused call and one more try"
	case t.Lifetime < time.Minute:
		s.State, s.Hint = Warn, "so short a life costs many token requests: raise the access token validity at the vendor"
	}
	return s
}

// format tells what kind of token it is, and whether it is of the client that asked.
func format(t *token.Trial, claims *Claims, clientID string) Step {
	s := Step{Name: StepTokenFormat, State: OK}
	if claims == nil {
		s.Detail = fmt.Sprintf("opaque, %d characters", len(t.Token.Value.Reveal()))
		return s
	}
	s.Detail = fmt.Sprintf("JWT (%s) of %s", claims.Algorithm, claims.Issuer)
	if len(claims.Audience) > 0 {
		s.Detail += " for " + short(claims.Audience, 3)
	}
	if claims.Zone != "" {
		s.Detail += ", zone " + claims.Zone
	}
	if !claims.Expires.IsZero() {
		s.Detail += ", until " + claims.Expires.Format("2006-01-02 15:04:05Z")
	}
	switch told := time.Until(claims.Expires); {
	case claims.Client != "" && claims.Client != clientID:
		s.State, s.Hint = Warn, "the token names client "+claims.Client+" and not the one that asked: is the client id right?"
	case !claims.Expires.IsZero() && t.LifetimeTold && told < t.Lifetime-2*time.Minute:
		s.State = Warn
		s.Hint = fmt.Sprintf("it ends at %s by its own words, sooner than the answer said: one of the clocks is wrong", claims.Expires.Format(time.RFC3339))
	}
	return s
}

// binding tells of a token that only the holder of a certificate may use.
func (c *Client) binding(claims *Claims) (Step, bool) {
	if claims == nil || claims.Bound == "" {
		return Step{}, false
	}
	s := Step{Name: StepTokenBinding, State: OK, Detail: "the token is bound to the credential's certificate, and connections to the tenant show it"}
	own := ""
	if cert := c.Way.Credential.Certificate; cert != nil && len(cert.Certificate) > 0 {
		sum := sha256.Sum256(cert.Certificate[0])
		own = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	switch {
	case own != claims.Bound:
		s.State, s.Detail = Fail, "the token is bound to a certificate that is not the credential's (cnf)"
		s.Hint = "does something between here and the token server end TLS?"
	case !c.Shown:
		s.State, s.Detail = Warn, "the token is bound to the credential's certificate (cnf), and connections to the tenant show none"
		s.Hint = "a tenant that enforces the binding answers 401: tenant set NAME --client-certificate credential"
	}
	return s, true
}

// scopes tells what was granted, and which routes ask for what was not.
func (c *Client) scopes(t *token.Trial, claims *Claims) []Step {
	asked := c.Way.Credential.Scope
	granted, told := t.Scope, t.ScopeTold
	if !told && claims != nil && claims.Scopes != nil {
		granted, told = strings.Join(claims.Scopes, " "), true
	}
	s := Step{Name: StepTokenScope, State: OK}
	switch {
	case !told && asked == "":
		s.State, s.Detail = Skipped, "neither the answer nor the token tells which scopes it has"
		return []Step{s}
	case !told:
		s.Detail = "granted as asked for: " + asked // RFC 6749, section 5.1
		granted = asked
	case granted == "":
		s.State, s.Detail = Warn, "the token has no scope at all"
		s.Hint = "give the client its roles at the vendor (such as ESBMessaging.send); a change may take up to an hour to act"
	default:
		s.Detail = "granted: " + clean(short(strings.Fields(granted), 8), 400)
		if asked != "" {
			s.Detail += "; asked for: " + clean(short(strings.Fields(asked), 8), 200)
		}
	}
	steps := []Step{s}
	for _, r := range c.Routes {
		if r.Scope == "" || r.Scope == asked {
			continue
		}
		missing := token.MissingScopes(r.Scope, granted)
		switch {
		case len(missing) == 0:
		case asked != "":
			steps = append(steps, Step{Name: StepRoute, State: Skipped, Detail: "route " + r.Name + " asks for " + r.Scope + ", and this token was asked for " + asked,
				Hint: "tenant check NAME --route " + r.Name})
		default:
			steps = append(steps, Step{Name: StepRoute, State: Fail, Detail: "route " + r.Name + " asks for " + strings.Join(missing,
				" ") + ", which the client was not granted",
				Hint: "give the client that role at the vendor (a change may take up to an hour to act), or change the route's scope"})
		}
	}
	return steps
}

// hostOf is the host of an address, for comparing it with known ones.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
