package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCAListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List roots and intermediates",
		Long: `list shows the CA's own certificates, oldest first: their state, when they end, where their keys are, and how many certificates under
them are valid.

  requested  the key is there, a root has to sign (ca csr, ca install)
  pending    trusted, signs nothing yet
  active     signs
  retiring   another one signs; what this one has signed is good until it ends
  retired    nothing that leads to it is accepted`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				list, err := c.CACertificates(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(list, func(w io.Writer) { caTable(w, list) })
			})
		},
	}
}

func caTable(w io.Writer, list []admin.CACertificate) {
	var rows [][]string
	for _, a := range list {
		until := "-"
		if !a.NotAfter.IsZero() {
			until = moment(a.NotAfter)
		}
		key := a.Key
		if a.Problem != "" && a.State != string(pki.AuthorityRetired) {
			key += " (cannot be used here)"
		}
		rows = append(rows, []string{a.ID[:16], a.Kind, a.State, a.Subject, until, strconv.FormatInt(a.Live, 10), key})
	}
	table(w, []string{"ID", "KIND", "STATE", "SUBJECT", "UNTIL", "LIVE", "KEY"}, rows)
}

func newCAShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a root or an intermediate",
		Example: `  tenantgate ca show 3f9a51c0`,
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				a, err := c.CACertificate(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(a, func(w io.Writer) { showCACertificate(w, &a) })
			})
		},
	}
}

func showCACertificate(w io.Writer, a *admin.CACertificate) {
	valid := ""
	if !a.NotAfter.IsZero() {
		valid = moment(a.NotBefore) + " to " + moment(a.NotAfter)
	}
	list := []field{{"id", a.ID}, {"kind", a.Kind}, {"state", a.State}, {"subject", a.Subject}, {"root", a.Root}, {"key", a.KeyType + ", " + a.Key}, {"problem", a.Problem},
		{"valid", valid}, {"live certificates", strconv.FormatInt(a.Live, 10)}}
	if !a.Installed {
		list = append(list, field{"from", "the files of a node: other nodes believe it if they have them too"})
	}
	if !a.Activated.IsZero() {
		list = append(list, field{"signs since", moment(a.Activated)})
	}
	if !a.Retired.IsZero() {
		list = append(list, field{"retired", moment(a.Retired) + ", " + a.Reason})
	}
	fields(w, list...)
	fmt.Fprint(w, a.Certificate, a.Request)
}

func newCAStatusCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show which nodes and callers know the CA's certificates",
		Long: `status shows roots and intermediates as ca list does, whether every node on the database knows them, and who may not have the newest
root: callers and administrators with a certificate from before every node trusted it that was not renewed since. Whoever enrols, renews
or is issued a certificate afterwards gets all trusted roots with it.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				s, err := c.CAStatus(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(s, func(w io.Writer) { showCAStatus(w, &s) })
			})
		},
	}
}

func showCAStatus(w io.Writer, s *admin.CAStatus) {
	caTable(w, s.Authorities)
	fmt.Fprintln(w)
	var rows [][]string
	for _, n := range s.Nodes {
		state := "knows everything"
		switch {
		case n.Problem != "":
			state = n.Problem
		case !n.Current:
			state = "is behind"
		}
		name := n.Name
		if n.Self {
			name += " (this one)"
		}
		rows = append(rows, []string{name, moment(n.Seen), state})
	}
	table(w, []string{"NODE", "SEEN", "STATE"}, rows)
	fmt.Fprintln(w)
	for _, a := range s.Authorities {
		if a.Kind == pki.KindRoot && a.State != string(pki.AuthorityRetired) {
			fmt.Fprintf(w, "root %s: key %s\n", a.ID[:16], rootKeyPlace(&a))
		}
	}
	fmt.Fprintln(w, withoutRoot(s))
}

func rootKeyPlace(a *admin.CACertificate) string {
	if a.Key == pki.LocationOffline {
		return "offline; nothing but a rotation needs it"
	}
	return "in a file of this server; only a rotation needs it: move it to a safe place"
}

// withoutRoot says who may not have the newest root, in a line.
func withoutRoot(s *admin.CAStatus) string {
	if s.Root == "" {
		return "there is no root"
	}
	if len(s.WithoutRoot) == 0 {
		return "everybody with a valid certificate has root " + s.Root[:16]
	}
	const most = 20
	var names []string
	for i, h := range s.WithoutRoot {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(s.WithoutRoot)-most))
			break
		}
		name := h.Name
		if h.Profile == "admin" {
			name += " (administrator)"
		}
		if h.Certificates > 1 {
			name += fmt.Sprintf(" (%d certificates)", h.Certificates)
		}
		names = append(names, name)
	}
	return fmt.Sprintf("%d may not have root %s yet: %s", len(s.WithoutRoot), s.Root[:16], strings.Join(names, ", "))
}

func newCABundleCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Print all trusted roots",
		Long: `bundle prints the roots that are trusted now, as PEM: what whoever verifies this server, or accepts the CA's certificates elsewhere, has to
trust. During a rotation there are two.`,
		Example: `  tenantgate ca bundle --out ca.pem`,
		Args:    exactArgs(),
	}
	out := cmd.Flags().String("out", "", "`file` for the roots instead of standard output; replaced if it is there")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.call(func(c *admin.Client) error {
			list, err := c.CACertificates(cmd.Context())
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(a admin.CACertificate) bool {
				return a.Kind != pki.KindRoot || a.State == string(pki.AuthorityRetired)
			})
			var pem strings.Builder
			for _, a := range list {
				pem.WriteString(a.Certificate)
			}
			if *out != "" {
				if err := replaceFile(*out, []byte(pem.String()), 0o644); err != nil {
					return err
				}
				fmt.Fprintf(p.stderr, "wrote %s: %d roots\n", *out, len(list))
				if !p.json {
					return nil
				}
			}
			return p.show(list, func(w io.Writer) { fmt.Fprint(w, pem.String()) })
		})
	}
	return cmd
}
