package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

func newUsageCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "usage",
		Short: "The history of who uses what: how it is kept, and how it is forgotten",
		Long: `The history holds, for each login and identity, the callers that were seen, and what each did on which route, day by day.
usage.retention in the server's configuration says how long it is kept. Addresses may be personal data: they can be kept as
pseudonyms, and the history of anybody can be forgotten.`,
		Example: `  tenantgate usage show
  tenantgate usage pseudonymise
  tenantgate usage forget --login P2001234567`,
	}, newUsageShowCommand(p), newUsagePseudonymiseCommand(p), newUsageForgetCommand(p))
}

func newUsageShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show how addresses are kept, and how large the history is",
		Example: "  tenantgate usage show",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				s, err := c.Usage(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(s, func(w io.Writer) { printUsage(w, s) })
			})
		},
	}
}

func printUsage(w io.Writer, s usage.Settings) {
	kept := "in the clear"
	if s.Pseudonymous {
		kept = "as pseudonyms"
	}
	fields(w,
		field{"addresses are kept", kept},
		field{"keys so far", strconv.FormatInt(s.KeyGeneration, 10)},
		field{"callers", strconv.FormatInt(s.Callers, 10)},
		field{"days", strconv.FormatInt(s.Days, 10)},
	)
}

func newUsagePseudonymiseCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pseudonymise",
		Short: "Keep pseudonyms in place of addresses, those in the history included",
		Long: `pseudonymise replaces every address in the history by a keyed hash, and has new ones kept so: the same address is the
same pseudonym. The name of its network stays (networks set). With the key an address can be compared, not read back.

Run again, it makes a new key and destroys the old one: nobody can find out any more which addresses the old pseudonyms
were, and a caller that is seen again is a new one. Backups made before have the old key.

--keep-addresses keeps addresses again, from now on. A caller that has only a pseudonym is moved with its address given:
migration move --address.`,
		Example: `  tenantgate usage pseudonymise
  tenantgate usage pseudonymise --keep-addresses`,
		Args: exactArgs(),
	}
	keep := cmd.Flags().Bool("keep-addresses", false, "keep addresses in the clear from now on, and destroy the key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.call(func(c *admin.Client) error {
			done, err := c.Pseudonymise(cmd.Context(), admin.PseudonymiseRequest{KeepAddresses: *keep})
			if err != nil {
				return err
			}
			return p.show(done, func(w io.Writer) {
				if *keep {
					fmt.Fprintln(w, "addresses are kept from now on; the key of the pseudonyms is destroyed")
					return
				}
				fmt.Fprintf(w, "addresses are kept as pseudonyms, under key %d; %d callers were rewritten\n", done.KeyGeneration, done.Rewritten)
			})
		})
	}
	return cmd
}

func newUsageForgetCommand(p *program) *cobra.Command {
	var q admin.ForgetRequest
	cmd := &cobra.Command{
		Use:   "forget [flags]",
		Short: "Take callers out of the history, or what is older than a day",
		Long: `forget removes what the flags name, for good. Moves stay in force: they are not part of the history. What a caller does
after that is counted anew.`,
		Example: `  tenantgate usage forget --login P2001234567
  tenantgate usage forget --before 2026-01-01
  tenantgate usage forget --caller 4f6k2mxqa3zde`,
		Args: exactArgs(),
	}
	cmd.Flags().StringVar(&q.Login, "login", "", "only of this login")
	cmd.Flags().StringVar(&q.Identity, "identity", "", "only of this identity")
	caller := cmd.Flags().String("caller", "", "only this caller, by its `id`, with its parts")
	cmd.Flags().StringVar(&q.Before, "before", "", "only what is older than this `day`, such as 2026-01-01")
	cmd.Flags().BoolVar(&q.All, "all", false, "the whole history")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range []string{"login", "identity", "caller", "before"} {
			if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
				return usageError(cmd, "--%s is empty", name)
			}
		}
		if *caller != "" {
			id, ok := usage.ParseID(*caller)
			if !ok {
				return usageError(cmd, "%q is not the id of a caller", *caller)
			}
			q.Caller = id
		}
		if q == (admin.ForgetRequest{}) {
			return usageError(cmd, "nothing says what to forget: name it, or give --all")
		}
		return p.call(func(c *admin.Client) error {
			done, err := c.ForgetUsage(cmd.Context(), q)
			if err != nil {
				return err
			}
			return p.show(done, func(w io.Writer) { fmt.Fprintf(w, "%d callers are in the history no more\n", done.Callers) })
		})
	}
	return cmd
}

func newNetworkCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "networks",
		Short:   "Names of networks, by which addresses of callers are understood",
		Example: "  tenantgate networks set networks.txt",
	}, newNetworkSetCommand(p), newNetworkListCommand(p))
}

func newNetworkSetCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "set FILE",
		Short: "Replace the list of networks by a file's; - reads standard input",
		Long: `A line of the file is a network and its name:

  10.1.0.0/16   plant-a
  10.1.2.0/24   plant-a, HR    # the narrowest counts

An empty file takes all names away. A bad line is named, and nothing is changed.`,
		Example: "  tenantgate networks set networks.txt",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := p.stdin
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("reading networks: %w", err)
				}
				defer f.Close()
				in = f
			}
			networks, err := usage.ParseNetworks(in)
			if err != nil {
				return fmt.Errorf("reading networks: %s: %w", args[0], err)
			}
			return p.call(func(c *admin.Client) error {
				stored, err := c.SetNetworks(cmd.Context(), admin.NetworkList{Networks: networks})
				if err != nil {
					return err
				}
				return p.show(stored, func(w io.Writer) { fmt.Fprintf(w, "%d networks have a name\n", len(stored.Networks)) })
			})
		},
	}
}

func newNetworkListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the networks that have a name, the narrowest first",
		Example: "  tenantgate networks list",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				l, err := c.Networks(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(l, func(w io.Writer) {
					rows := make([][]string, 0, len(l.Networks))
					for _, n := range l.Networks {
						rows = append(rows, []string{n.CIDR.String(), n.Name})
					}
					table(w, []string{"NETWORK", "NAME"}, rows)
				})
			})
		},
	}
}
