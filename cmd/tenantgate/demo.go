package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
)

func newDemoCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a simulated tenant, a CA, a proxy and three calls",
		Long: `demo starts, on loopback and in a temporary directory, everything that a real set-up has: a simulated
tenant with its token server, a CA, a registry with two identities and three routes, the proxy and the
admin listener; the very code that serve runs. It then makes three calls and shows what came of each:

  1. an identity that holds the route's role     is served
  2. an identity that does not                   is denied
  3. a certificate that was just revoked         is refused, on the open connection and on a new one

It prints the curl command for each, stays up until Ctrl-C, and removes its directory.`,
		Example: `  tenantgate demo
  tenantgate demo --once          # exit 0 only if all three went as told
  tenantgate demo --dir /tmp/d    # keeps its files there`,
		Args: exactArgs(),
	}
	once := cmd.Flags().Bool("once", false, "make the calls and exit: 0 if all three went as told, else 1")
	dir := cmd.Flags().String("dir", "", "`directory` for its files, which is kept (default: a temporary one, which is removed)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return p.demo(ctx, *dir, *once)
	}
	return cmd
}

// demo runs the whole of it.
func (p *program) demo(ctx context.Context, dir string, once bool) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "tenantgate-demo-"); err != nil {
			return fmt.Errorf("making a directory: %w", err)
		}
		defer os.RemoveAll(dir)
	}
	d := &demonstration{program: p, dir: dir}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.populate(ctx); err != nil {
		return fmt.Errorf("filling the registry: %w", explain(err))
	}
	d.introduce()
	ok, err := d.calls(ctx)
	if err != nil {
		return err
	}
	if !ok {
		err = errors.New("a call did not go as told")
	} else {
		fmt.Fprint(p.stdout, "All three went as told.\n")
	}
	if once || err != nil {
		return err
	}
	d.farewell()
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.done:
		d.done = nil
		return fmt.Errorf("serving: %w", err)
	}
}

// demonstration is a running demo.
type demonstration struct {
	*program
	dir    string
	tenant *tenantsim.Sim
	node   *node
	done   chan error // the node's serve
	api    *admin.Client
	addr   addresses
}

// start brings up the tenant and, as `init` and `serve` do, a node.
func (d *demonstration) start(ctx context.Context) error {
	var err error
	if d.tenant, err = tenantsim.New(tenantsim.Options{}); err != nil {
		return fmt.Errorf("starting the simulated tenant: %w", err)
	}
	cfg := defaultConfig()
	cfg.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.ServerNames = []string{"localhost", "127.0.0.1"}
	cfg.Log.Level = "warn"
	if err := initialize(ctx, initOptions{dir: d.dir, adminName: "demo", config: cfg}); err != nil {
		return err
	}
	path := filepath.Join(d.dir, configFile)
	loaded, err := loadConfig(path)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(loaded.Log.level())
	if d.node, err = openNode(ctx, loaded, newLogger(d.stderr, loaded.Log.Format, level), level); err != nil {
		return err
	}
	if err := d.node.listen(inherited{}); err != nil {
		return err
	}
	d.done = make(chan error, 1)
	go func() { d.done <- d.node.serve() }()
	d.addr = d.node.front.addresses()
	d.api = socketClient(d.addr.socket)
	return nil
}

// close ends the node and the tenant.
func (d *demonstration) close() error {
	var errs []error
	switch {
	case d.node != nil && d.done != nil:
		ctx, cancel := context.WithTimeout(context.Background(), d.node.drainTimeout())
		defer cancel()
		errs = append(errs, d.node.shutdown(ctx))
	case d.node != nil:
		errs = append(errs, d.node.close())
	}
	if d.tenant != nil {
		errs = append(errs, d.tenant.Close())
	}
	return errors.Join(errs...)
}

// The demo's objects. Each identity has an OAuth client of its own at the tenant, as SAP tells it to be.
const (
	demoTenant    = "acme"
	ordersPath    = "/http/orders"
	roleSend      = "orders.send"
	roleRead      = "stock.read"
	roleReport    = "report.read"
	demoERP       = "erp"     // may send orders and read stock
	demoShop      = "webshop" // may read stock
	demoERPClient = "sb-erp-client!b1|it-rt-acme!b2"
)

// populate fills the registry through the admin API, as an operator's commands do.
func (d *demonstration) populate(ctx context.Context) error {
	if _, err := d.api.AddTenant(ctx, identity.Tenant{
		Name: demoTenant, Description: "the simulated tenant", BaseURL: d.tenant.BaseURL(), TokenURL: d.tenant.TokenURL(),
		AuthStyle: identity.AuthBody, CABundle: string(d.tenant.CAPEM()),
	}); err != nil {
		return err
	}
	for _, r := range []identity.Route{
		{Name: "orders", Path: ordersPath, Methods: []string{http.MethodPost}, Tenant: demoTenant, Role: roleSend, MaxBody: 10 << 20},
		{Name: "stock", Path: "/http/stock/*", Methods: []string{http.MethodGet}, Tenant: demoTenant, Role: roleRead},
		{Name: "report", Path: "/report", Methods: []string{http.MethodGet}, Tenant: demoTenant, TenantPath: "/http/report/daily", Role: roleReport},
	} {
		if _, err := d.api.AddRoute(ctx, r); err != nil {
			return err
		}
	}
	for _, i := range []struct {
		name, client string
		roles        []string
	}{
		{demoERP, demoERPClient, []string{roleSend, roleRead}},
		{demoShop, "sb-webshop-client!b3|it-rt-acme!b2", []string{roleRead}},
	} {
		if _, err := d.api.AddIdentity(ctx, identity.Identity{Name: i.name, Owner: "team-" + i.name, Roles: i.roles}); err != nil {
			return err
		}
		secret := make([]byte, 24)
		rand.Read(secret) // never fails (crypto/rand)
		d.tenant.AddClient(tenantsim.Client{ID: i.client, Secret: base64.StdEncoding.EncodeToString(secret)})
		key, err := d.tenant.ServiceKey(i.client, tenantsim.KeyIntegration)
		if err != nil {
			return err
		}
		if _, err := d.api.AddCredential(ctx, i.name, admin.CredentialRequest{Tenant: demoTenant, ServiceKey: string(key)}); err != nil {
			return err
		}
	}
	return nil
}

// introduce says what is running.
func (d *demonstration) introduce() {
	fmt.Fprintf(d.stdout, "tenantgate demo in %s\n\n", d.dir)
	fields(d.stdout,
		field{"proxy", "https://" + d.addr.callers},
		field{"admin listener", "https://" + d.addr.admin + "  (/healthz /readyz /metrics)"},
		field{"simulated tenant", d.tenant.BaseURL() + "  tokens from " + d.tenant.TokenURL()},
	)
	io.WriteString(d.stdout, `
  identity  roles                    route    what                      role
  erp       orders.send, stock.read  orders   POST /http/orders         orders.send
  webshop   stock.read               stock    GET  /http/stock/*        stock.read
                                     report   GET  /report -> elsewhere  report.read (nobody)

`)
}

// farewell says how to go on.
func (d *demonstration) farewell() {
	config := filepath.Join(d.dir, configFile)
	fmt.Fprintf(d.stdout, `
It stays up until Ctrl-C. Every command works on it:
  tenantgate -c %[1]s identity list
  tenantgate -c %[1]s identity show erp
  tenantgate -c %[1]s audit verify
  tail -f %[2]s
`, config, filepath.Join(d.dir, "access.log"))
}
