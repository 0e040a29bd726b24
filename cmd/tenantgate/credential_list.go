package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCredentialListCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [IDENTITY]",
		Short: "List credentials and how they stand; never their secrets",
		Long: `list shows the credentials of one identity, the newest first, or of all. STATE is as the node that answers knows it:

  preferred  it has brought a token and is used
  fallback   the older one, used because the newer one has not worked yet or does not any more
  standby    the older one, there if it is needed
  unproven   it has not brought a token since the node's start
  rejected   the tenant does not take its tokens
  refused    the token server does not accept it
  expired    its end has come

--expiring leaves those that end soon: 30 days before the end of what lives half a year or longer, 7 days from a
month, 3 days from two weeks, a day from two days on. --expiring=90d takes all that end within that time.`,
		Example: `  tenantgate credential list erp
  tenantgate credential list --expiring
  tenantgate credential list --expiring=90d --json`,
		Args: maxArgs(1),
	}
	expiring := cmd.Flags().String("expiring", "", "only those that end soon, or within this `time`")
	cmd.Flags().Lookup("expiring").NoOptDefVal = "soon"
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		within, err := expiringWithin(cmd, *expiring)
		if err != nil {
			return err
		}
		return p.call(func(c *admin.Client) error {
			credentials, err := listCredentials(cmd.Context(), c, args, within)
			if err != nil {
				return err
			}
			return p.show(credentials, func(w io.Writer) { printCredentials(w, credentials) })
		})
	}
	return cmd
}

// expiringWithin is the flag as the API takes it.
func expiringWithin(cmd *cobra.Command, value string) (string, error) {
	switch {
	case !cmd.Flags().Changed("expiring"):
		return "", nil
	case value == "soon":
		return value, nil
	}
	d, err := parseDuration(value)
	if err != nil {
		return "", usageError(cmd, "--expiring: %v", err)
	}
	return time.Duration(d).String(), nil
}

// listCredentials asks for those of one identity or of all.
func listCredentials(ctx context.Context, c *admin.Client, args []string, within string) ([]admin.Credential, error) {
	if len(args) == 0 {
		return c.AllCredentials(ctx, within)
	}
	if within == "" {
		return c.Credentials(ctx, args[0])
	}
	if _, err := c.Identity(ctx, args[0]); err != nil {
		return nil, err
	}
	all, err := c.AllCredentials(ctx, within)
	if err != nil {
		return nil, err
	}
	own := []admin.Credential{}
	for _, one := range all {
		if one.Identity == args[0] {
			own = append(own, one)
		}
	}
	return own, nil
}

func printCredentials(w io.Writer, credentials []admin.Credential) {
	rows := make([][]string, 0, len(credentials))
	for _, c := range credentials {
		rows = append(rows, []string{c.ID, c.Identity, c.Tenant, c.ClientID, c.Kind, describeUse(&c.Use), orDash(moment(c.Use.LastUsed)), orDash(moment(c.NotAfter)), moment(c.Created)})
	}
	table(w, []string{"ID", "IDENTITY", "TENANT", "CLIENT ID", "KIND", "STATE", "LAST USED", "NOT AFTER", "CREATED"}, rows)
}

// describeUse is a credential's state in a few words.
func describeUse(u *admin.CredentialUse) string {
	text := u.State
	if text == "" {
		text = "-"
	}
	if u.InUse && u.State != "preferred" && u.State != "fallback" {
		text += ", in use"
	}
	if u.State == "preferred" && !u.InUse {
		text += ", not in use"
	}
	if !u.Until.IsZero() {
		text += ", tried again at " + moment(u.Until)
	}
	return text
}

func printCredential(w io.Writer, c *admin.Credential) {
	fields(w,
		field{"id", c.ID},
		field{"identity", c.Identity},
		field{"tenant", c.Tenant},
		field{"client id", c.ClientID},
		field{"kind", c.Kind},
		field{"auth style", c.AuthStyle},
		field{"token URL", c.TokenURL},
		field{"issuer", c.Issuer},
		field{"scope", c.Scope},
		field{"token parameters", parametersText(c.TokenParameters)},
		field{"key", keyText(&c.Credential)},
		field{"not after", moment(c.NotAfter)},
		field{"created", moment(c.Created)},
		field{"state", describeUse(&c.Use)},
		field{"error", c.Use.Error},
		field{"last used", moment(c.Use.LastUsed)},
	)
}
