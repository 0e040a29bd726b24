package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/pki"
)

// verifyFlags are the inputs of `cert verify`.
type verifyFlags struct {
	roots, intermediates, leaf string
	crls                       []string
	live                       bool
	at                         string
}

// verdict is the answer of `cert verify --json`.
type verdict struct {
	OK      bool       `json:"ok"`
	Reason  pki.Reason `json:"reason,omitempty"`
	Detail  string     `json:"detail,omitempty"`
	Subject string     `json:"subject"`
	Serial  string     `json:"serial"`
	At      time.Time  `json:"at"`
}

func newCertVerifyCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify --leaf FILE",
		Short: "Say whether the listener would accept a client certificate",
		Long: `verify runs the very function that the TLS listener runs on a caller's certificate: exit status 0 when it
is acceptable, 1 and the reason when it is not. With --roots it needs no server; without, the CA
certificates of the configured server are used.

It judges the certificate. Whether it is bound to an enabled identity, and what that may reach, only the
running server knows: tenantgate cert show. With --live the running server is asked what its listener makes of the
certificate now, one of another CA (tenantgate authority) as well: whose it is, by which mapping, for which
identity, and whether it was revoked.`,
		Example: `  tenantgate cert verify --roots root_ca.crt --intermediates intermediate_ca.crt --leaf erp.pem
  tenantgate cert verify --roots root_ca.crt --leaf erp.pem --time 2027-01-01T00:00:00Z
  tenantgate cert verify --leaf erp.pem --crl intermediate.crl
  tenantgate cert verify --leaf corp-erp.pem --live`,
		Args: exactArgs(),
	}
	var f verifyFlags
	cmd.Flags().StringVar(&f.leaf, "leaf", "", "`file` with the certificate, PEM or DER, followed by the chain it is sent with; - is standard input")
	cmd.Flags().StringVar(&f.roots, "roots", "", "`file` with the trusted roots (default: the CA of --config)")
	cmd.Flags().StringVar(&f.intermediates, "intermediates", "", "`file` with intermediates")
	cmd.Flags().StringArrayVar(&f.crls, "crl", nil, "`file` with a revocation list, PEM or DER; repeatable")
	cmd.Flags().StringVar(&f.at, "time", "", "judge as of this `time` (RFC 3339; default: now)")
	cmd.Flags().BoolVar(&f.live, "live", false, "ask the running server, authorities and identities included")
	for _, other := range []string{"roots", "intermediates", "crl", "time"} {
		cmd.MarkFlagsMutuallyExclusive("live", other)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.leaf == "" {
			return usageError(cmd, "--leaf is missing")
		}
		if f.live {
			return p.verifyLive(cmd.Context(), f.leaf)
		}
		return p.verifyCertificate(cmd, &f)
	}
	return cmd
}

func (p *program) verifyCertificate(cmd *cobra.Command, f *verifyFlags) error {
	at := time.Now()
	if f.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, f.at); err != nil {
			return usageError(cmd, "--time %q is not RFC 3339, such as 2027-01-31T12:00:00Z", f.at)
		}
	}
	trust, err := p.trustForVerify(f)
	if err != nil {
		return err
	}
	chain, err := readBundle(p, f.leaf, "certificate", pki.ParseCertificates)
	if err != nil {
		return err
	}
	var crls []*x509.RevocationList
	for _, name := range f.crls {
		more, err := readBundle(p, name, "revocation list", pki.ParseCRLs)
		if err != nil {
			return err
		}
		crls = append(crls, more...)
	}
	v := verdict{OK: true, Subject: chain[0].Subject.String(), Serial: fmt.Sprintf("%x", chain[0].SerialNumber), At: at.UTC()}
	rejection := trust.VerifyClient(chain, at, crls...)
	if rejection != nil {
		v.OK, v.Detail = false, rejection.Error()
		if r, ok := errors.AsType[*pki.RejectedError](rejection); ok {
			v.Reason = r.Reason
		}
	}
	if p.json {
		if err := writeJSON(p.stdout, v); err != nil {
			return err
		}
		return rejection
	}
	if rejection != nil {
		return rejection
	}
	fmt.Fprintf(p.stdout, "%s is acceptable (%s, serial %s)\n", f.leaf, printable(v.Subject), v.Serial)
	if len(crls) == 0 {
		fmt.Fprintf(p.stdout, "not looked at: whether it was revoked or its identity disabled (tenantgate cert show %s)\n", v.Serial)
	}
	return nil
}

// trustForVerify loads the roots that were named, or those of the configured server.
func (p *program) trustForVerify(f *verifyFlags) (*pki.Trust, error) {
	roots, intermediates := f.roots, f.intermediates
	if roots == "" {
		cfg, err := loadConfig(p.configPath())
		if err != nil {
			return nil, hinted(fmt.Errorf("finding the CA: %w", err), "name the roots: --roots FILE")
		}
		roots = cfg.CA.rootFile()
		if intermediates == "" {
			intermediates = cfg.CA.intermediateFile()
		}
	}
	rootsPEM, err := p.readInput(roots, "roots")
	if err != nil {
		return nil, err
	}
	var intermediatesPEM []byte
	if intermediates != "" {
		if intermediatesPEM, err = p.readInput(intermediates, "intermediates"); err != nil {
			return nil, err
		}
	}
	return pki.LoadTrust(rootsPEM, intermediatesPEM)
}

// readBundle reads a file of certificates or revocation lists; an error names the file.
func readBundle[T any](p *program, name, what string, parse func([]byte) (T, error)) (T, error) {
	var none T
	b, err := p.readInput(name, what)
	if err != nil {
		return none, err
	}
	v, err := parse(b)
	if err != nil {
		return none, fmt.Errorf("reading %s from %s: %w", what, name, err)
	}
	return v, nil
}
