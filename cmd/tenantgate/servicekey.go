package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// readServiceKey reads a service key from a file or standard input. What is missing is told with the flag that gives it.
func (p *program) readServiceKey(file string, o token.KeyOptions) (token.ServiceKey, error) {
	text, err := p.readText(file, "the service key")
	if err != nil {
		return token.ServiceKey{}, err
	}
	key, err := token.ParseServiceKey([]byte(text), o)
	if e, ok := errors.AsType[*token.KeyError](err); ok {
		bare := *e
		bare.Hint = ""
		return key, &failure{err: &bare, hint: keyHint(e)}
	}
	return key, err
}

// keyFlags are the flags that give what a service key lacks, by the field of token.KeyOptions.
var keyFlags = map[string]string{
	"Binding": "--binding NAME", "Style": "--auth-style STYLE", "TokenURL": "--token-url URL", "KeyPEM": "--key-file FILE",
	"CertificatePEM": "--cert-file FILE", "CertificatePEM,KeyPEM": "--cert-file FILE --key-file FILE",
}

// keyHint is what to do about a service key, with the command's flags.
func keyHint(e *token.KeyError) string {
	flags := keyFlags[e.Mends]
	if e.Hint == "" || flags == "" {
		return e.Hint + flags
	}
	return e.Hint + ": " + flags
}

// origin is an item of a service key and where it comes from.
type origin struct {
	Value string `json:"value"`
	From  string `json:"from"`
}

// understood is what was read in a service key, for people and, with --json, for programs. It holds no secret.
type understood struct {
	Shape     string    `json:"shape"`
	Text      string    `json:"text"`
	Plan      string    `json:"plan,omitempty"`
	ClientID  origin    `json:"client_id"`
	BaseURL   *origin   `json:"base_url,omitempty"`
	TokenURL  origin    `json:"token_url"`
	AuthStyle origin    `json:"auth_style"`
	Created   time.Time `json:"created,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	RateLimit string    `json:"rate_limit"`
	Notes     []string  `json:"notes,omitempty"`
}

func understand(k token.ServiceKey) *understood {
	u := &understood{Shape: string(k.Shape), Text: k.Shape.String(), Plan: k.Plan, ClientID: origin{k.ClientID, k.From.ClientID},
		TokenURL: origin{k.TokenURL, k.From.TokenURL}, AuthStyle: origin{string(k.Style), k.From.Style},
		Created: k.Created, NotAfter: k.NotAfter, RateLimit: k.Shape.RateLimit(), Notes: k.Notes}
	if k.URL != "" {
		u.BaseURL = &origin{k.URL, k.From.URL}
	}
	return u
}

// print shows the items in columns, and what is odd about them.
func (u *understood) print(w io.Writer) {
	fmt.Fprintf(w, "read %s\n", u.Text)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value, from string) {
		if value != "" {
			fmt.Fprintf(tw, "  %s:\t%s\t%s\n", name, printable(value), printable(from))
		}
	}
	line("client id", u.ClientID.Value, u.ClientID.From)
	line("plan", u.Plan, "by client id or address")
	if u.BaseURL != nil {
		line("base URL", u.BaseURL.Value, u.BaseURL.From)
	}
	line("token URL", u.TokenURL.Value, u.TokenURL.From)
	line("auth style", u.AuthStyle.Value, u.AuthStyle.From)
	line("made", moment(u.Created), "createdate")
	if u.NotAfter.IsZero() {
		line("ends", "unknown", "no key tells when its secret ends")
	} else {
		line("ends", moment(u.NotAfter), "the certificate")
	}
	line("rate limit", u.RateLimit, "published")
	tw.Flush()
	for _, note := range u.Notes {
		fmt.Fprintf(w, "note: %s\n", printable(note))
	}
}
