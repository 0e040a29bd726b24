package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// enrollFlags are the flags of `enroll`.
type enrollFlags struct {
	out, keyType, keyFile, url string
}

func newEnrollCommand(p *program) *cobra.Command {
	f := enrollFlags{}
	cmd := &cobra.Command{
		Use:   "enroll TOKEN",
		Short: "On a caller's machine: make a key and get its certificate with a token",
		Long: `enroll makes the private key here, where it stays, and gets the certificate with a token that an operator has
made (tenantgate cert token). It needs no configuration and no access to the admin API. TOKEN may be - for standard
input, so that it does not show in the list of processes. Written are

  NAME.key   the private key (0600)
  NAME.pem   the certificate and its chain, as callers send them
  ca.pem     the CA's roots, to verify the enrolment listener with, and the proxy
  proxy-ca.pem  what to verify the proxy with, where its certificate is of another CA; else there is none
  NAME.json  the address at which tenantgate renew renews the certificate

into DIR (--out), which is ./NAME unless given, NAME being the identity's. Nothing is overwritten. The server is
recognised by the CA's fingerprint in the token; until then nothing is sent to it.

When it is interrupted, or the answer is lost, run the same command again while the token is valid: the key is kept
in a hidden directory beside the files, and the server gives the same certificate to the same key.`,
		Example: `  tenantgate enroll tge1_eyJ1Ijoi...
  tenantgate enroll - --out /etc/erp/tls --key-type RSA-2048 < token
  tenantgate enroll tge1_eyJ1Ijoi... --key existing.key --out files`,
		Args: exactArgs("TOKEN"),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "", "`directory` for the files (default ./NAME); made if it is missing")
	flags.StringVar(&f.keyType, "key-type", pki.P256, "P-256, P-384, RSA-2048, RSA-3072, RSA-4096 or Ed25519")
	flags.StringVar(&f.keyFile, "key", "", "PEM `file` of a key to use in place of a new one; it stays where it is")
	flags.StringVar(&f.url, "ca-url", "", "enrolment address, `https://host:port`, in place of the token's")
	cmd.MarkFlagsMutuallyExclusive("key", "key-type")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		token, err := p.readToken(args[0])
		if err != nil {
			return &failure{err: err, hint: cmd.CommandPath() + " --help", usage: true}
		}
		base := token.URL
		if f.url != "" {
			if base = f.url; enrolment.CheckURL(base) != nil {
				return usageError(cmd, "--ca-url: %v", enrolment.CheckURL(base))
			}
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return p.enroll(ctx, token, base, &f)
	}
	return cmd
}

// readToken reads the token from the command line, or from standard input.
func (p *program) readToken(arg string) (*enrolment.Token, error) {
	if arg == "-" {
		b, err := p.readInput("-", "the token")
		if err != nil {
			return nil, err
		}
		arg = string(b)
	}
	return enrolment.ParseToken(arg)
}

// enrolled is what `enroll` and `renew` print with --json.
type enrolled struct {
	Identity    string               `json:"identity"`
	Serial      string               `json:"serial"`
	Fingerprint identity.Fingerprint `json:"fingerprint"`
	NotBefore   time.Time            `json:"not_before"`
	NotAfter    time.Time            `json:"not_after"`
	Key         string               `json:"key"`
	Certificate string               `json:"certificate"`
	CA          string               `json:"ca"`
	ProxyCA     string               `json:"proxy_ca"` // verifies the proxy; "" where the system does
	Call        string               `json:"call"`     // the command that calls the proxy
}

func newEnrolled(a *enrolment.Answer, files *callerFiles) enrolled {
	return enrolled{a.Identity, a.Serial, a.Fingerprint, a.NotBefore, a.NotAfter, files.key, files.cert, files.ca,
		files.verifies(a.ProxyTrust), files.curl(a)}
}

func (p *program) enroll(ctx context.Context, token *enrolment.Token, base string, f *enrollFlags) error {
	place, err := findPlace(f.out, token, f.keyFile)
	if err != nil {
		return err
	}
	defer p.slow("waiting for the server")()
	root, err := enrolment.Pin(ctx, base, token.Root)
	if err != nil {
		return explainContact(fmt.Errorf("making the first contact with %s: %w", base, err))
	}
	if err := knowsRoot(place.files.ca, root); err != nil {
		return err
	}
	key, err := place.prepare(f)
	if place.release != nil {
		defer place.release()
	}
	if err != nil {
		return err
	}
	csr, err := requestFor(token.Identity, key)
	if err != nil {
		return err
	}
	client := enrolment.NewClient(base, []*x509.Certificate{root}, nil)
	answer, err := insist(ctx, func() (*enrolment.Answer, error) { return client.Enroll(ctx, token, []byte(csr)) })
	if refused, ok := errors.AsType[*enrolment.Refusal](err); ok && refused.Final() {
		place.giveUp()
		return refusedBy("enrolling", refused)
	}
	if err != nil {
		return &failure{err: fmt.Errorf("enrolling: %s; a certificate may have been issued", printable(err.Error())), hint: place.again()}
	}
	got, err := receive(answer, key, token.Identity, []*x509.Certificate{root})
	if err != nil {
		return &failure{err: err, hint: place.again()}
	}
	if err := place.finish(got, base); err != nil {
		return &failure{err: fmt.Errorf("%w; the certificate %s was issued", err, answer.Serial), hint: place.again()}
	}
	p.tellDropped(answer.Dropped)
	return p.show(newEnrolled(answer, &place.files), func(w io.Writer) {
		fmt.Fprintf(w, "enrolled identity %s: certificate %s, valid until %s\n", answer.Identity, answer.Serial, moment(answer.NotAfter))
		fmt.Fprintf(w, "wrote %s, %s and %s\n", place.files.key, place.files.cert, place.files.ca)
		switch answer.ProxyTrust {
		case enrolment.TrustProxyRoots:
			fmt.Fprintf(w, "wrote %s: the proxy's certificate is of another CA than this one; verify it with that file\n", place.files.proxyCA)
		case enrolment.TrustSystem:
			fmt.Fprintln(w, "the proxy's certificate is of a CA that this machine is expected to trust: verify it with the system's roots, and not with ca.pem")
		}
		fmt.Fprintf(w, "\ncall:  %s\nrenew: tenantgate renew --cert %s --key %s\n", place.files.curl(answer), place.files.cert, place.files.key)
	})
}

// insist asks again when no answer comes, or one that is not final: the same request with the same key gets the same certificate.
func insist(ctx context.Context, ask func() (*enrolment.Answer, error)) (answer *enrolment.Answer, err error) {
	for _, pause := range []time.Duration{time.Second, 3 * time.Second, 0} {
		answer, err = ask()
		refused, ok := errors.AsType[*enrolment.Refusal](err)
		if err == nil || ok && refused.Final() || pause == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
	return answer, err
}

// refusedBy is a refusal as the caller's operator sees it.
func refusedBy(doing string, refused *enrolment.Refusal) error {
	hint := refused.Hint
	if refused.Code == enrolment.CodeKeyType {
		hint += ": --key-type"
	}
	return &failure{err: fmt.Errorf("%s: %w", doing, refused), hint: hint}
}

// explainContact says what to do when the enrolment listener cannot be spoken to. Whoever is at the other end may have chosen parts of the text.
func explainContact(err error) error {
	said := &failure{err: errors.New(printable(err.Error())),
		hint: "is the server running with enrolment.listen, and can this machine reach it? --ca-url names another address"}
	_, otherName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case errors.Is(err, enrolment.ErrOtherCA):
		said.hint = "is the address right? If it is, somebody answers in the server's place: do not go on, and tell the operator"
	case errors.Is(err, context.Canceled):
		said.hint = "it was interrupted; run it again"
	case otherName:
		said.hint = "call it by one of the server_names in its configuration"
	case isInvalid && invalid.Reason == x509.Expired:
		said.hint = "check this machine's clock"
	}
	return said
}
