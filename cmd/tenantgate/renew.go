package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// renewer renews one certificate.
type renewer struct {
	*program
	files    renewFiles
	url      string // "" is the one in the settings
	keyType  string // "" is that of the old key
	reuseKey bool
	exec     string // shell command to run after a renewal; "" is none
}

func newRenewCommand(p *program) *cobra.Command {
	r := &renewer{program: p}
	var key, ca string
	cmd := &cobra.Command{
		Use:   "renew --cert FILE [flags]",
		Short: "On a caller's machine: renew a certificate before it ends",
		Long: `renew asks the enrolment listener for a new certificate, with the old one as the proof of who asks, and puts key,
certificate and roots in the place of the old ones. It does so when two thirds of the lifetime are over, a little
earlier for some certificates than for others so that they do not all come at once; before that it does nothing
and says when it will. --force renews now.

By default a new key is made. The old certificate stays valid until it ends. One that has expired is renewed only
when the operator allows it (tenantgate identity set NAME --renew-grace 72h).

--daemon stays and does all this by itself, with longer pauses after failures, until SIGTERM. Without it, run it
from time to time: configs/ has a systemd timer. --exec is run by sh after a renewal, and again at the next run when it
failed. While files are exchanged there is a moment, of microseconds, in which the key is new and the certificate
is not; there is none with --reuse-key, or when --key and --cert are the same file.`,
		Example: `  tenantgate renew --cert erp/erp.pem
  tenantgate renew --cert /etc/erp/erp.pem --key /etc/erp/private.pem --exec 'systemctl reload erp'
  tenantgate renew --cert erp/erp.pem --daemon --exec 'kill -HUP $(cat /run/erp.pid)'`,
		Args: exactArgs(),
	}
	flags := cmd.Flags()
	flags.StringVar(&r.files.cert, "cert", "", "PEM `file` of the certificate and its chain")
	flags.StringVar(&key, "key", "", "PEM `file` of its key (default: that of the certificate with .key)")
	flags.StringVar(&ca, "ca", "", "PEM `file` of the CA's roots, which is read only (default: ca.pem beside the certificate, which is kept up to date)")
	flags.StringVar(&r.url, "ca-url", "", "enrolment address, `https://host:port` (default: that in the .json file beside the certificate)")
	flags.BoolVar(&r.reuseKey, "reuse-key", false, "keep the key")
	flags.StringVar(&r.keyType, "key-type", "", "`type` of the new key (default: that of the old one)")
	flags.StringVar(&r.exec, "exec", "", "shell `command` to run after a renewal")
	force := flags.Bool("force", false, "renew now, however long the certificate is valid")
	daemon := flags.Bool("daemon", false, "stay, and renew whenever it is time")
	cmd.MarkFlagsMutuallyExclusive("reuse-key", "key-type")
	cmd.MarkFlagsMutuallyExclusive("force", "daemon")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if r.files.cert == "" {
			return usageError(cmd, "--cert is missing")
		}
		if err := r.find(key, ca); err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		if *daemon {
			return r.daemon(ctx)
		}
		return r.once(ctx, *force)
	}
	return cmd
}

// find fills in what was not given.
func (r *renewer) find(key, ca string) error {
	files := filesBeside(r.files.cert)
	if key != "" {
		files.key = key
	}
	if ca != "" {
		files.ca, r.files.foreignCA = ca, true
	}
	r.files.callerFiles = files
	if err := r.files.resolved(); err != nil {
		return err
	}
	if r.url == "" {
		settings, err := readSettings(files.settings)
		if err != nil {
			return hinted(err, "give --ca-url https://HOST:PORT")
		}
		r.url = settings.EnrolmentURL
	}
	if err := enrolment.CheckURL(r.url); err != nil {
		return &failure{err: err, hint: "--ca-url https://HOST:PORT", usage: true}
	}
	if r.keyType != "" {
		if _, err := pki.GenerateKey(r.keyType); err != nil {
			return &failure{err: fmt.Errorf("--key-type: %w", err), hint: "tenantgate renew --help", usage: true}
		}
	}
	return nil
}

// once renews when it is time, or in any case, and prints what it did.
func (r *renewer) once(ctx context.Context, force bool) error {
	release, err := exclusive(r.files.cert)
	if err != nil {
		return err
	}
	defer release()
	pair, _, err := r.files.load()
	if err != nil {
		return err
	}
	if now, due := time.Now(), dueAt(pair.Leaf); !force && now.Before(due) {
		if err := r.announce(ctx); err != nil {
			return err
		}
		return r.show(map[string]time.Time{"due": due, "not_after": pair.Leaf.NotAfter}, func(w io.Writer) {
			fmt.Fprintf(w, "certificate %s is valid until %s and will be renewed after %s\n",
				pki.FormatSerial(pair.Leaf.SerialNumber), moment(pair.Leaf.NotAfter), moment(due))
		})
	}
	defer r.slow("waiting for the server")()
	got, err := r.renew(ctx)
	if err != nil {
		return err
	}
	r.tellDropped(got.Dropped)
	if err := r.announce(ctx); err != nil {
		return err
	}
	return r.show(newEnrolled(got.Answer, &r.files.callerFiles), func(w io.Writer) {
		fmt.Fprintf(w, "renewed certificate of identity %s: %s, valid until %s\n", got.Identity, got.Serial, moment(got.NotAfter))
	})
}

// dueAt is when a certificate is to be renewed: when two thirds of its life are over, or up to a twelfth of it earlier. How much earlier comes out of
// the certificate itself, so that it is the same whenever it is asked, and different for those that were issued together.
func dueAt(leaf *x509.Certificate) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	sum := sha256.Sum256(leaf.Raw)
	early := float64(binary.BigEndian.Uint64(sum[:])) / math.MaxUint64 * float64(life) / 12
	return leaf.NotBefore.Add(life*2/3 - time.Duration(early))
}

// renew gets a new certificate and puts it in place. The caller has the files for itself.
func (r *renewer) renew(ctx context.Context) (*received, error) {
	pair, old, err := r.files.load()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(r.files.ca)
	if err != nil {
		return nil, hinted(fmt.Errorf("reading the CA's roots: %w", err), "give --ca FILE")
	}
	roots, err := pki.ParseCertificates(b)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", r.files.ca, err)
	}
	keyType := r.keyType
	if keyType == "" {
		keyType = pki.KeyType(old.Public())
	}
	key, err := r.files.next(old, r.reuseKey, keyType)
	if err != nil {
		return nil, err
	}
	csr, err := requestFor(identityOf(pair.Leaf), key)
	if err != nil {
		return nil, err
	}
	client := enrolment.NewClient(r.url, roots, &pair)
	answer, err := insist(ctx, func() (*enrolment.Answer, error) { return client.Renew(ctx, []byte(csr)) })
	if refused, ok := errors.AsType[*enrolment.Refusal](err); ok {
		if refused.Final() {
			r.files.forget()
		}
		return nil, refusedBy("renewing", refused)
	}
	if err != nil {
		return nil, explainContact(fmt.Errorf("renewing at %s: %w", r.url, err))
	}
	got, err := receive(answer, key, identityOf(pair.Leaf), roots)
	if err != nil {
		return nil, err
	}
	if r.exec != "" {
		if err := r.files.write(r.files.reload(), nil, r.files.cert); err != nil {
			return nil, err
		}
	}
	r.tellNewRoots(got.roots, roots)
	return got, r.files.put(got, key, r.reuseKey)
}

// tellNewRoots says that a file of roots which is not ours lacks some.
func (r *renewer) tellNewRoots(now, known []*x509.Certificate) {
	for _, root := range now {
		if r.files.foreignCA && !slices.ContainsFunc(known, root.Equal) {
			fmt.Fprintf(r.stderr, "the CA has a root that %s lacks: add it before the old one ends\n%s", r.files.ca, pki.EncodeCertificates(root))
		}
	}
}

// announce runs the command for a renewal that it was not run for yet, or failed for.
func (r *renewer) announce(ctx context.Context) error {
	if _, err := os.Stat(r.files.reload()); r.exec == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", r.exec)
	cmd.Env = append(os.Environ(), "TENANTGATE_CERT="+r.files.cert, "TENANTGATE_KEY="+r.files.key, "TENANTGATE_CA="+r.files.ca)
	cmd.Stdout, cmd.Stderr = r.stderr, r.stderr
	if err := cmd.Run(); err != nil {
		return hinted(fmt.Errorf("running %q: %w; the certificate was renewed", r.exec, err), "it is run again at the next call of tenantgate renew")
	}
	return os.Remove(r.files.reload())
}
