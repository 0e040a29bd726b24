package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCredentialRotateCommand(p *program) *cobra.Command {
	var f credentialFlags
	cmd := &cobra.Command{
		Use:   "rotate IDENTITY (TENANT | --tenant TENANT) (--service-key FILE | --client-id ID ...)",
		Short: "Replace a credential by a new one, without a gap",
		Long: `rotate adds a second credential beside the one that an identity has for a tenant, and waits until it has
worked. A token is fetched with it in the background; until that has come, and whenever the new one is refused,
requests go with the old one. Nobody waits and nobody gets an error.

  1. At the vendor, make a second service key, secret or certificate. Leave the old one there.
  2. tenantgate credential rotate erp acme-dev --service-key new.json
  3. When it says so, remove the old one here (or have --remove-old do it), and then at the vendor.

The other way round, deleting first at the vendor, works too: requests fall back to whichever is accepted.

rotate exits 0 when the new credential is in use, and 1 when it was refused or has not worked within --timeout.
Then both stay, the old one is used on, and the new one is tried again: after a quarter of an hour when the token
server refused it, because some lock a client after five wrong tries. In a cluster it is the node that answers
that has been watched.

With --keyless the vendor cannot know the new key yet: rotate ends with the new credential refused. Register what
credential show prints; then the new one comes into use by itself, when it is tried again.

--remove-old waits, where the identity is calling just now, until the tenant has taken a token of the new one.

Certificates at SAP: with "Pin Certificate" off, XSUAA rejects the older certificate of the same subject as soon as
the newer one was used. Then rotate is a way without return: the old one is no fallback any more.`,
		Example: `  tenantgate credential rotate erp acme-dev --service-key new.json
  tenantgate credential rotate erp acme-dev --service-key new.json --remove-old --timeout 5m
  tenantgate credential rotate erp acme-dev --client-id sb-1234 --secret-file new --not-after 2028-06-30`,
		Args: f.args,
	}
	f.register(cmd)
	removeOld := cmd.Flags().Bool("remove-old", false, "remove the old credential once the new one has worked")
	timeout := Duration(2 * time.Minute)
	cmd.Flags().Var(&timeout, "timeout", "how long to wait for the new credential to work")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request, key, err := p.credentialRequest(cmd, &f)
		if err != nil {
			return err
		}
		c, err := p.client()
		if err != nil {
			return err
		}
		r := rotation{client: c, progress: p.stderr, identity: args[0], request: request, removeOld: *removeOld}
		if key != nil {
			if r.warnings, err = f.mismatches(cmd.Context(), c, key); err != nil {
				return explain(err)
			}
		}
		return explain(r.run(cmd.Context(), time.Duration(timeout), p.show))
	}
	return cmd
}

// rotation is one run of `credential rotate`.
type rotation struct {
	client    *admin.Client
	progress  io.Writer
	identity  string
	request   admin.CredentialRequest
	removeOld bool
	warnings  []string // of the service key
}

// rotationResult is what `credential rotate --json` prints.
type rotationResult struct {
	Credential admin.Credential `json:"credential"` // the new one
	Old        admin.Credential `json:"old"`
	Worked     bool             `json:"worked"`  // the new one is in use
	Removed    bool             `json:"removed"` // the old one is gone
	Warnings   []string         `json:"warnings,omitempty"`
}

const (
	rotatePoll = 250 * time.Millisecond
	// A refusal is final for this command when the next try is further away than this: a first one is tried again within seconds.
	rotateHeld = 10 * time.Second
	// The identity is calling when its old credential was used so long ago; the time of the last use is kept to the minute.
	rotateBusy = 2 * time.Minute
)

func (r *rotation) run(ctx context.Context, timeout time.Duration, show func(any, func(io.Writer)) error) error {
	old, err := r.only(ctx)
	if err != nil {
		return err
	}
	for _, warning := range r.warnings {
		fmt.Fprintf(r.progress, "warning: %s\n", printable(warning))
	}
	added, err := r.client.AddCredential(ctx, r.identity, r.request)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.progress, "added credential %s; %s is used until it has worked\n", added.ID, old.ID)
	if added.Keyless {
		fmt.Fprintf(r.progress, "next: tenantgate credential show %s   # what to register at the vendor\n", added.ID)
	}
	result := rotationResult{Credential: added, Old: old, Warnings: r.warnings}
	end := time.Now().Add(timeout)
	failure := r.await(ctx, &result.Credential, end, func(u *admin.CredentialUse) bool { return u.InUse && u.State == "preferred" })
	if failure == nil {
		failure = r.finish(ctx, &result, end)
	}
	result.Worked = result.Credential.Use.State == "preferred"
	if err := show(result, func(w io.Writer) { printRotation(w, &result) }); err != nil {
		return err
	}
	return failure
}

// only finds the credential to replace, which must be the only one, of an identity that is enabled: for another one no token is fetched.
func (r *rotation) only(ctx context.Context) (old admin.Credential, err error) {
	i, err := r.client.Identity(ctx, r.identity)
	if err != nil {
		return old, err
	}
	if i.Disabled {
		return old, hinted(fmt.Errorf("identity %s is disabled: whether a credential works would not be found out", i.Name),
			"enable it first, or replace the credential with credential add and credential remove")
	}
	all, err := r.client.Credentials(ctx, r.identity)
	if err != nil {
		return old, err
	}
	var here []admin.Credential
	for _, c := range all {
		if c.Tenant == r.request.Tenant {
			here = append(here, c)
		}
	}
	switch len(here) {
	case 0:
		return old, hinted(fmt.Errorf("%s has no credential for %s that could be replaced", r.identity, r.request.Tenant), "add one: tenantgate credential add %s %s", r.identity, r.request.Tenant)
	case 1:
		return here[0], nil
	}
	spare := here[1]
	if spare.Use.InUse {
		spare = here[0]
	}
	return old, hinted(fmt.Errorf("%s holds two credentials for %s already: a rotation has not been finished", r.identity, r.request.Tenant),
		"%s is not in use (%s); remove it first: tenantgate credential remove %s", spare.ID, spare.Use.State, spare.ID)
}

// await watches a credential until it is as wanted, and tells each change of its state. Its error says that this will not happen soon.
func (r *rotation) await(ctx context.Context, c *admin.Credential, end time.Time, wanted func(*admin.CredentialUse) bool) error {
	tick := time.NewTicker(rotatePoll)
	defer tick.Stop()
	told := ""
	for {
		now, err := r.client.Credential(ctx, c.ID)
		if err != nil {
			return err
		}
		*c = now
		u := &c.Use
		if state := describeUse(u); state != told {
			told = state
			fmt.Fprintf(r.progress, "%s is %s\n", c.ID, state)
		}
		switch {
		case wanted(u):
			return nil
		case u.State == "rejected", u.State == "expired", u.State == "refused" && time.Until(u.Until) > rotateHeld:
			return hinted(fmt.Errorf("the new credential is %s: %s", u.State, u.Error), wayOut, c.ID, c.ID)
		case time.Now().After(end):
			return hinted(errors.New("the new credential has not worked in time"+reason(u)), wayOut, c.ID, c.ID)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func reason(u *admin.CredentialUse) string {
	if u.Error == "" {
		return ""
	}
	return ": " + u.Error
}

// wayOut is the hint when the new credential does not work.
const wayOut = "the old one is used on; to give up: tenantgate credential remove %s; if the vendor is only late, the new one comes into use by itself: tenantgate credential show %s"

// finish removes the old credential, if that was asked for.
func (r *rotation) finish(ctx context.Context, result *rotationResult, end time.Time) error {
	if !r.removeOld {
		return nil
	}
	old, err := r.client.Credential(ctx, result.Old.ID)
	if err != nil {
		return err
	}
	result.Old = old
	if time.Since(old.Use.LastUsed) < rotateBusy {
		if err := r.await(ctx, &result.Credential, end, func(u *admin.CredentialUse) bool { return u.Taken && u.InUse }); err != nil {
			return err
		}
	}
	if err := r.client.RemoveCredential(ctx, old.ID); err != nil {
		return err
	}
	result.Removed = true
	return nil
}

func printRotation(w io.Writer, r *rotationResult) {
	switch {
	case r.Removed:
		fmt.Fprintf(w, "credential %s is in use, %s was removed; now delete the old one at the vendor\n", r.Credential.ID, r.Old.ID)
	case r.Worked:
		fmt.Fprintf(w, "credential %s is in use; next: tenantgate credential remove %s, then delete the old one at the vendor\n", r.Credential.ID, r.Old.ID)
	default:
		fmt.Fprintf(w, "credential %s is %s; %s is in use\n", r.Credential.ID, describeUse(&r.Credential.Use), r.Old.ID)
	}
}
