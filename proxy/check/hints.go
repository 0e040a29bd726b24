package check

import (
	"strings"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// explain says what to do about a token request that failed, by what is known of the vendors' answers (TENANTS.md 2.3-2.5).
func (c *Client) explain(err *token.Error) string {
	text := strings.ToLower(err.Code + " " + err.Description)
	switch err.Step {
	case token.StepDial:
		return "a firewall in between? where the way out is an HTTP proxy: tenant set NAME --http-proxy URL"
	case token.StepTLS:
		return c.alertHint()
	case token.StepRefused:
		return c.refused(text)
	case token.StepScope:
		return "give the client that role at the vendor (a change may take up to an hour to act), or ask for less: --scope of the tenant, credential or route"
	case token.StepParse:
		if strings.Contains(text, "html") {
			return "a page came in place of a token: is the token URL right (it ends in /oauth/token or /oauth2/token), and does a proxy answer in between?"
		}
		return "what answers is no OAuth token endpoint, or a broken one: is the token URL right?"
	case token.StepStatus:
		return c.status(err)
	case token.StepRequest:
		return "the server takes the connection and does not answer: try later; if it stays so, its operator must look"
	}
	return ""
}

// refused tells apart why a client is not accepted.
func (c *Client) refused(text string) string {
	cred := &c.Way.Credential
	ias := strings.Contains(hostOf(c.tokenURL()), ".accounts.")
	switch {
	case strings.Contains(text, "locked"), ias && strings.Contains(text, "too many"):
		return "the client is locked: Identity Authentication locks one for 60 minutes after five failed log-ons; wait, and mend the secret first"
	case strings.Contains(text, "authentication object was not found"):
		return "the server saw no client authentication: it does not know this style here; see tenant --help for the vendors' styles"
	case cred.Style == token.MTLS:
		return "the certificate is not the one that is registered for the client: with pinning only that one is accepted; one certificate belongs to one key only; " +
			"is the client id of the same key?"
	case cred.Style == token.PrivateKeyJWT:
		return "the assertion is not accepted: is the key that credential show prints registered for this client, with its kid, and is the assertion for whom the server " +
			"wants it (--assertion-audience)? a clock that is wrong by minutes is another reason"
	case strings.Contains(text, "does not exist"):
		return "there is no such client: was its service key deleted? make a new one and add it: credential add"
	case strings.Contains(text, "unsupported") || strings.Contains(text, "unauthorized_client"):
		return "the client may not use the client credentials grant: make it with grant type client_credentials"
	case ias && cred.Style == token.BasicRaw:
		return "Identity Authentication takes Basic form-encoded only: use style basic or body"
	case strings.Contains(c.tokenURL(), "//oauthasservices-") && cred.Style != token.BasicRaw:
		return "Neo takes Basic only: use style basic_raw"
	}
	return "client id or secret is wrong, or its service key was deleted; with a special character such as + in the secret, the style matters " +
		"(body is safe with XSUAA). It is tried at most twice: add the right one (credential add)"
}

// status is for answers that refuse nobody.
func (c *Client) status(err *token.Error) string {
	switch {
	case err.Status == 429:
		return "too many token requests for the whole subaccount, from here or from others: wait; who else fetches a token for each call there?"
	case err.Status/100 == 3:
		return "a token endpoint does not redirect: is the token URL right, with its host and path? a proxy may ask for a log-on"
	case err.Status == 404 || err.Status == 405:
		return "there is no token endpoint at that path: XSUAA has /oauth/token, Identity Authentication /oauth2/token"
	case err.Code == "invalid_scope":
		return "the client does not have that scope: give it the role, or ask for less: --scope of the tenant, credential or route"
	case err.Code == "unsupported_grant_type":
		return "the server does not know client credentials: is it the right one?"
	case err.Status >= 500:
		return "the token server has a problem of its own: try later"
	}
	return ""
}
