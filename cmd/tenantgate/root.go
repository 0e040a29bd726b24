package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// program is what every command shares: the streams, the environment and the flags of the root.
type program struct {
	stdin  io.Reader
	stdout *output
	stderr io.Writer
	getenv func(string) string

	json   bool          // --json: print objects as JSON instead of tables
	config string        // --config: the server's configuration file
	target adminEndpoint // how to reach a running server
}

const (
	groupRun       = "run"
	groupRegistry  = "registry"
	groupMigration = "migration"
	groupPKI       = "pki"
	groupLook      = "look"
)

const rootLong = `tenantgate stands in front of SaaS tenants. A backend system shows a client certificate, tenantgate
maps it to a technical identity, decides by route and role, and calls the tenant with a token of an
OAuth client that belongs to that identity and to no person.

The words:
  tenant      a remote system: base URL, token endpoint, how to authenticate there
  route       host + path + methods -> tenant path; requires a role
  role        a name such as orders.send; nothing is allowed without one
  identity    a technical identity: name, owner (a team), roles
  certificate what a caller shows; bound to one identity
  credential  the OAuth client with which one identity calls one tenant
  login       a legacy user name and password that still stands for an identity, until its sunset

Commands that read or change the registry talk to the running server, through its admin socket
(--socket, or admin.socket of --config) or its admin listener (--server with --admin-cert, --admin-key
and --admin-ca). Changes act at once.

Exit status:
  0  done
  1  it did not work, or the answer is no; the error says why and the hint what to do
  2  the command line or the configuration cannot be understood

Environment:
  TENANTGATE_CONFIG  the default of --config
  TENANTGATE_SOCKET  the default of --socket`

const rootExample = `  # See it work, with nothing set up
  tenantgate demo

  # Set it up for real
  tenantgate init /var/lib/tenantgate
  tenantgate serve -c /var/lib/tenantgate/tenantgate.yaml

  # Let a backend call a tenant
  tenantgate tenant add acme --service-key key.json
  tenantgate route add orders --path /http/orders --methods POST --tenant acme --role orders.send
  tenantgate identity add erp --owner team-logistics --role orders.send
  tenantgate credential add erp acme --service-key key.json
  tenantgate tenant check acme
  tenantgate cert issue erp --out erp-files`

// newRootCommand builds the whole command tree around p.
func newRootCommand(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:           "tenantgate",
		Short:         "An authenticating reverse proxy in front of SaaS tenants",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	subcommandsOnly(root)
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true})
	root.SetHelpCommandGroupID(groupLook) // without a group it would print a heading of its own, with nothing below
	root.SetCompletionCommandGroupID(groupLook)

	flags := root.PersistentFlags()
	flags.BoolVar(&p.json, "json", false, "print JSON instead of tables")
	flags.StringVarP(&p.config, "config", "c", "", "the server's configuration `file` (default $TENANTGATE_CONFIG, then ./tenantgate.yaml)")
	p.target.addFlags(root)

	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run a server:"},
		&cobra.Group{ID: groupRegistry, Title: "Who may reach what:"},
		&cobra.Group{ID: groupMigration, Title: "Off the shared passwords:"},
		&cobra.Group{ID: groupPKI, Title: "Certificates:"},
		&cobra.Group{ID: groupLook, Title: "Look at it:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupRun, newDemoCommand(p), newInitCommand(p), newServeCommand(p), newConfigCommand(p), newBackupCommand(p), newRestoreCommand(p))
	add(groupRegistry, newTenantCommand(p), newRouteCommand(p), newIdentityCommand(p), newAuthorityCommand(p), newCredentialCommand(p), newLoginCommand(p),
		newReviewCommand(p), newPolicyCommand(p))
	add(groupMigration, newCallerCommand(p), newMigrationCommand(p), newUsageCommand(p), newNetworkCommand(p))
	add(groupPKI, newCertCommand(p), newCACommand(p), newEnrollCommand(p), newRenewCommand(p), newACMECommand(p))
	add(groupLook, newStatusCommand(p), newExplainCommand(p), newExpiryCommand(p), newNotifyCommand(p), newAuditCommand(p), newVersionCommand(p))
	return root
}

// group makes the command of a noun, which only carries its verbs.
func group(noun *cobra.Command, verbs ...*cobra.Command) *cobra.Command {
	noun.AddCommand(verbs...)
	subcommandsOnly(noun)
	return noun
}

// subcommandsOnly makes cmd fail, with the nearest names, when its subcommand is missing or unknown.
// (cobra prints the help and exits 0, which a script takes for success.)
func subcommandsOnly(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError(cmd, "a command is missing")
		}
		cmd.SuggestionsMinimumDistance = 2 // cobra's default, which it sets too late for this
		err := usageError(cmd, "unknown command %q", args[0]).(*failure)
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			err.hint = "did you mean " + strings.Join(near, " or ") + "? (" + err.hint + ")"
		}
		return err
	}
}
