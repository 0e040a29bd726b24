package main

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// peer is a proxy to be measured.
type peer struct {
	name   string
	argv   []string
	target target
}

// peerNames are all the proxies, in the order of the table. The first is what the others are compared with.
var peerNames = []string{"nginx", "tenantgate", "relay"}

// ports are those that everything listens on, on 127.0.0.1.
type ports struct {
	Tenant, Nginx, Gate, Relay int
}

// choosePorts finds ports that are free now.
func choosePorts() (p ports, err error) {
	for _, port := range []*int{&p.Tenant, &p.Nginx, &p.Gate, &p.Relay} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return p, fmt.Errorf("finding a free port: %w", err)
		}
		defer l.Close() // all at once, so that they differ
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// setUp builds what is measured, starts the tenant and makes the node and the configurations.
func (f *field) setUp(s settings) (err error) {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("this needs Linux: CPU times come from /proc")
	}
	if f.self, err = os.Executable(); err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if f.ports, err = choosePorts(); err != nil {
		return err
	}
	f.progress("building tenantgate")
	f.gate = filepath.Join(f.dir, "tenantgate")
	if out, err := exec.Command("go", "build", "-o", f.gate, "github.com/tenantgate/tenantgate/cmd/tenantgate").CombinedOutput(); err != nil {
		return fmt.Errorf("building tenantgate: %w: %s", err, out)
	}
	version, err := exec.Command(f.gate, "version").Output()
	if err != nil {
		return fmt.Errorf("asking tenantgate for its version: %w", err)
	}
	f.versions = append(f.versions, strings.TrimSpace(string(version)))
	if err := makeCertificates(f.pki()); err != nil {
		return err
	}
	f.findNginx()
	if err := f.startTenant(); err != nil {
		return fmt.Errorf("starting the tenant: %w", err)
	}
	for _, name := range peerNames {
		if !slices.Contains(s.only, name) || name == "nginx" && f.nginx == "" {
			continue
		}
		f.progress("setting up %s", name)
		p, err := f.newPeer(name)
		if err != nil {
			return fmt.Errorf("setting up %s: %w", name, err)
		}
		f.peers = append(f.peers, p)
	}
	if len(f.peers) == 0 {
		return errors.New("nginx is not installed")
	}
	return f.pinSelf()
}

func (f *field) pki() string { return filepath.Join(f.dir, "pki") }

// newPeer makes what a proxy needs to be started.
func (f *field) newPeer(name string) (p peer, err error) {
	p = peer{name: name}
	certs := f.pki()
	switch name {
	case "nginx":
		p.target.addr = local(f.ports.Nginx)
		p.argv, err = f.nginxCommand()
	case "tenantgate":
		p.target.addr = local(f.ports.Gate)
		certs, p.argv, err = f.makeNode()
	case "relay":
		p.target.addr = local(f.ports.Relay)
		p.argv = []string{f.self, "relay", p.target.addr, local(f.ports.Tenant), f.pki()}
	}
	if err == nil {
		p.target.tls, err = loadTLS(certs, "client")
	}
	return p, err
}

var nginxVersion = regexp.MustCompile(`nginx/[0-9.]+`)

// findNginx finds nginx, in the places where administrators' programs are, too.
func (f *field) findNginx() {
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if out, err := exec.Command(path, "-v").CombinedOutput(); err == nil {
			f.nginx = path
			f.versions = append(f.versions, strings.Replace(nginxVersion.FindString(string(out)), "/", " ", 1))
			return
		}
	}
}

//go:embed nginx.conf.tmpl
var nginxConf string

// nginxCommand writes nginx's configuration and is the command that serves it.
func (f *field) nginxCommand() ([]string, error) {
	t, err := template.New("nginx.conf").Parse(nginxConf)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration's template: %w", err)
	}
	own := filepath.Join(f.dir, "nginx")
	if err := os.Mkdir(own, 0o755); err != nil {
		return nil, err
	}
	conf := filepath.Join(own, "nginx.conf")
	file, err := os.Create(conf)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := t.Execute(file, struct {
		ports
		Own, PKI, Bearer string
	}{f.ports, own, f.pki(), bearer}); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	return []string{f.nginx, "-e", filepath.Join(own, "error.log"), "-p", own, "-c", conf}, nil
}

// makeNode makes a node with one tenant, one route, one identity, its credential and its certificate, by the commands that an operator uses.
func (f *field) makeNode() (certs string, argv []string, err error) {
	node, certs := filepath.Join(f.dir, "node"), filepath.Join(f.dir, "caller")
	conf, addr, secret := filepath.Join(node, "tenantgate.yaml"), filepath.Join(f.dir, "addr"), filepath.Join(f.dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		return "", nil, err
	}
	if err := f.command(f.gate, "init", node, "--listen", local(f.ports.Gate), "--admin-listen", ""); err != nil {
		return "", nil, err
	}
	argv = []string{f.gate, "serve", "-c", conf}
	p, err := f.start("tenantgate", "", append(argv, "--addr-file", addr)...)
	if err != nil {
		return "", nil, err
	}
	defer p.stop()
	if err := p.wait(f.ctx, func() error { _, err := os.Stat(addr); return err }); err != nil {
		return "", nil, err
	}
	tenant := "https://localhost:" + strconv.Itoa(f.ports.Tenant)
	for _, args := range [][]string{
		{"tenant", "add", "bench", "--base-url", tenant, "--token-url", tenant + "/oauth/token", "--auth-style", "body", "--ca-bundle", filepath.Join(f.pki(), "ca.pem")},
		{"route", "add", "all", "--path", "/http/*", "--tenant", "bench", "--role", "bench.call", "--max-body", "unlimited"},
		{"identity", "add", "client", "--owner", "team-bench", "--role", "bench.call"},
		{"credential", "add", "client", "bench", "--client-id", "client", "--secret-file", secret},
		{"cert", "issue", "client", "--out", certs},
	} {
		if err := f.command(append([]string{f.gate, "-c", conf}, args...)...); err != nil {
			return "", nil, err
		}
	}
	return certs, argv, nil
}

// command runs a program to its end.
func (f *field) command(argv ...string) error {
	if out, err := exec.CommandContext(f.ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("running %s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}
