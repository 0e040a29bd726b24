package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newPolicyCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "policy",
		Short: "Which identities get no certificate, for all of them alike",
		Long: `The policy says whom a certificate is refused, whichever way it is asked for: cert issue, cert sign, cert token, enroll, renew,
and the certificates of keyless credentials.

  refuse_without_owner  identities that no team answers for: their owner is missing, or looks like a person's account
  refuse_past_review    identities whose review date is over
      none  nobody is refused
      new   certificates are refused, but renewals: what runs goes on (default)
      all   renewals, too
  review_grace          for how long after the review date renewals go on all the same, where refuse_past_review is all
  review_interval       how far ahead identity reviewed sets the next date

What was issued stays valid until it ends or is revoked.`,
		Example: `  tenantgate policy show
  tenantgate policy set --refuse-past-review all --review-grace 30d`,
	}, newPolicyShowCommand(p), newPolicySetCommand(p))
}

func newPolicyShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show the policy", Example: "  tenantgate policy show --json", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				policy, err := c.Policy(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(policy, func(w io.Writer) { printPolicy(w, &policy) })
			})
		},
	}
}

func newPolicySetCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use: "set [flags]", Short: "Change the policy", Long: "set changes what is named and leaves the rest.",
		Example: `  tenantgate policy set --refuse-without-owner all
  tenantgate policy set --refuse-past-review all --review-grace 14d --review-interval 180d`,
		Args: exactArgs(),
	}
	a := &attributes{}
	a.text(cmd, "refuse-without-owner", "refuse_without_owner", "`who` without an owner is refused: none, new or all")
	a.text(cmd, "refuse-past-review", "refuse_past_review", "`who` past the review date is refused: none, new or all")
	a.duration(cmd, "review-grace", "review_grace", "for how `long` after the review date renewals go on, such as 30d")
	a.duration(cmd, "review-interval", "review_interval", "how `far` ahead the next review is set, such as 365d")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		changes, err := a.given(cmd)
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return usageError(cmd, "nothing to change")
		}
		return p.call(func(c *admin.Client) error {
			policy, err := c.SetPolicy(cmd.Context(), changes)
			if err != nil {
				return err
			}
			return p.show(policy, func(w io.Writer) { printPolicy(w, &policy) })
		})
	}
	return cmd
}

func printPolicy(w io.Writer, v *identity.Policy) {
	fields(w,
		field{"refuse without owner", v.RefuseWithoutOwner},
		field{"refuse past review", v.RefusePastReview},
		field{"review grace", Duration(v.ReviewGrace).String()},
		field{"review interval", Duration(v.ReviewInterval).String()},
	)
}
