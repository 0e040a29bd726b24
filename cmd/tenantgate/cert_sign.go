package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCertSignCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign IDENTITY [CSR-FILE]",
		Short: "Sign a caller's certificate request",
		Long: `sign takes a PKCS#10 request, PEM or DER, from a file or standard input, and prints the certificate and
its intermediate as PEM. --format pkcs7 adds the root and writes PKCS#7, which ABAP's STRUST takes as the answer to a request
(as does keytool -importcert); pkcs7-der is the same for Windows.

What the request asks for beyond the profile is dropped with a message on standard error (organisation,
country, extensions) or refused (another name, an e-mail address, foreign alternative names, CA:TRUE, a
weak key, a bad signature). Nothing is granted because it was asked for.`,
		Example: `  tenantgate cert sign erp erp.csr > erp.pem
  tenantgate cert sign erp erp.csr --format pkcs7 --out erp.p7b
  openssl req -new -newkey rsa:2048 -nodes -keyout erp.key -subj /CN=erp | tenantgate cert sign erp - --out erp.pem`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(cmd, "IDENTITY is missing")
			}
			return maxArgs(2)(cmd, args)
		},
	}
	out := cmd.Flags().String("out", "", "`file` for the certificate instead of standard output")
	format := cmd.Flags().String("format", string(pki.PEMChain), "`format` of the answer: pem, pkcs7 or pkcs7-der")
	lifetime := new(Duration)
	durationFlag(cmd, lifetime, "lifetime", "how long it is valid, such as 30d (default 90d, at most 398d)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		source := "-"
		if len(args) == 2 {
			source = args[1]
		}
		switch f := pki.Format(*format); f {
		case pki.PEMChain, pki.PKCS7, pki.PKCS7DER:
			if p.json && *out == "" && f != pki.PEMChain {
				return usageError(cmd, "--json prints the certificates as PEM: --format %s needs --out", f)
			}
			return p.signRequest(cmd, args[0], source, *out, f, *lifetime)
		}
		return usageError(cmd, "--format is %q, not pem, pkcs7 or pkcs7-der", *format)
	}
	return cmd
}

func (p *program) signRequest(cmd *cobra.Command, name, source, out string, format pki.Format, lifetime Duration) error {
	b, err := p.readInput(source, "the certificate request")
	if err != nil {
		return err
	}
	b = bytes.TrimPrefix(b, []byte("\uFEFF")) // the byte order mark of Windows editors
	// The server judges it again; here it is judged so that a wrong file is told apart before anything is sent
	// (it might be a private key).
	if _, err := pki.ParseRequest(b); err != nil {
		return err
	}
	if out != "" {
		if err := refuseFiles([]string{out}); err != nil {
			return err
		}
	}
	if block, _ := pem.Decode(b); block == nil {
		b = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: b})
	}
	return p.call(func(c *admin.Client) error {
		var file *newFile
		if out != "" {
			if file, err = reserveFile(out, 0o644); err != nil {
				return err
			}
		}
		issued, err := c.IssueCertificate(cmd.Context(), name, admin.CertificateRequest{CSR: string(b), Lifetime: identity.Duration(lifetime)})
		if err != nil {
			if file != nil {
				file.discard()
			}
			return err
		}
		p.tellDropped(issued.Dropped)
		answer, err := certificatesAs(format, &issued)
		if err != nil {
			if file != nil {
				file.discard()
			}
			return issuedAllTheSame(err, issued.Serial)
		}
		if file != nil {
			if err := file.write(answer); err != nil {
				return issuedAllTheSame(err, issued.Serial)
			}
			fmt.Fprintf(p.stderr, "wrote %s\n", out)
			if !p.json {
				return nil
			}
		}
		err = p.show(issued, func(w io.Writer) { w.Write(answer) })
		if err == nil {
			err = p.stdout.err
		}
		if err != nil && file == nil {
			return issuedAllTheSame(err, issued.Serial)
		}
		return err
	})
}

// certificatesAs writes the certificates of an answer in a format that holds nothing else.
func certificatesAs(format pki.Format, issued *admin.IssuedCertificate) ([]byte, error) {
	chain, err := pki.ParseCertificates([]byte(issued.Chain))
	if err != nil {
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	roots, err := pki.ParseCertificates([]byte(issued.Roots))
	if err != nil {
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	return format.Encode(pki.Contents{Chain: chain, Roots: roots}, "")
}
