package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

// systemSocket is where the packaged systemd unit puts the admin socket.
const systemSocket = "/run/tenantgate/admin.sock"

// adminEndpoint is the flags that say how to reach a running server.
type adminEndpoint struct {
	socket        string
	server        string
	cert, key, ca string
}

func (e *adminEndpoint) addFlags(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&e.socket, "socket", "", "admin `socket` of the running server (default $TENANTGATE_SOCKET, then admin.socket of --config, then "+systemSocket+")")
	flags.StringVar(&e.server, "server", "", "admin listener of a remote server, `https://host:9443`; needs --admin-cert, --admin-key and --admin-ca")
	flags.StringVar(&e.cert, "admin-cert", "", "PEM `file` of an admin certificate, for --server")
	flags.StringVar(&e.key, "admin-key", "", "PEM `file` of its key")
	flags.StringVar(&e.ca, "admin-ca", "", "PEM `file` of the CA that the server's certificate must come from")
}

// client returns the API client of the running server that the flags, the environment or the
// configuration file name. It does not connect yet.
func (p *program) client() (*admin.Client, error) {
	if p.target.server != "" {
		return p.target.remote()
	}
	for _, f := range []struct{ name, value string }{
		{"--admin-cert", p.target.cert}, {"--admin-key", p.target.key}, {"--admin-ca", p.target.ca},
	} {
		if f.value != "" {
			return nil, &failure{err: fmt.Errorf("%s is given without --server", f.name), hint: "add --server https://HOST:9443", usage: true}
		}
	}
	socket, err := p.socketPath()
	if err != nil {
		return nil, err
	}
	return socketClient(socket), nil
}

// socketClient is a client of the admin socket at path.
func socketClient(socket string) *admin.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "unix", socket)
			return conn, socketError(socket, err)
		},
	}
	return &admin.Client{HTTP: &http.Client{Transport: transport, Timeout: time.Minute}, Base: "http://tenantgate"}
}

// socketPath finds the admin socket: flag, environment, configuration, the packaged place.
func (p *program) socketPath() (string, error) {
	if p.target.socket != "" {
		return p.target.socket, nil
	}
	if env := p.getenv("TENANTGATE_SOCKET"); env != "" && p.config == "" {
		return env, nil
	}
	path := p.configPath()
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && p.config == "" && p.getenv("TENANTGATE_CONFIG") == "" {
		return systemSocket, nil
	}
	cfg, err := loadConfig(path)
	if err != nil {
		return "", err
	}
	if cfg.Admin.Socket == "" {
		return "", &failure{
			err:  fmt.Errorf("%s: admin.socket is empty", path),
			hint: "use the admin listener: --server https://HOST:9443 --admin-cert FILE --admin-key FILE --admin-ca FILE",
		}
	}
	return cfg.Admin.Socket, nil
}

// noServer is that nobody listens at the admin socket.
type noServer struct{ socket string }

func (e *noServer) Error() string { return "no server is running at " + e.socket }

// socketError says what to do when the socket cannot be opened.
func socketError(socket string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &failure{
			err:  &noServer{socket},
			hint: "start it: tenantgate serve -c FILE; or name another with --socket, --config or --server",
		}
	case errors.Is(err, os.ErrPermission):
		return &failure{
			err:  fmt.Errorf("opening %s: permission denied", socket),
			hint: "only the server's own user may: sudo -u tenantgate tenantgate ...",
		}
	}
	return fmt.Errorf("connecting to %s: %w", socket, err)
}

// remote is a client of the TLS admin listener.
func (e *adminEndpoint) remote() (*admin.Client, error) {
	for _, f := range []struct{ name, value string }{
		{"--admin-cert", e.cert}, {"--admin-key", e.key}, {"--admin-ca", e.ca},
	} {
		if f.value == "" {
			return nil, &failure{err: fmt.Errorf("--server needs %s", f.name), hint: "tenantgate init made admin.pem, admin.key and ca/root_ca.crt", usage: true}
		}
	}
	base, err := url.Parse(e.server)
	if err != nil || base.Scheme != "https" || base.Host == "" || strings.Trim(base.Path, "/") != "" {
		return nil, &failure{err: fmt.Errorf("--server %q is not https://HOST:PORT", e.server), hint: "--server https://gate.example.com:9443", usage: true}
	}
	cert, err := tls.LoadX509KeyPair(e.cert, e.key)
	if err != nil {
		return nil, hinted(fmt.Errorf("reading the admin certificate %s: %w", e.cert, err), "--admin-cert and --admin-key must belong together")
	}
	pem, err := os.ReadFile(e.ca)
	if err != nil {
		return nil, fmt.Errorf("reading --admin-ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, hinted(fmt.Errorf("reading --admin-ca: %s holds no certificate", e.ca), "it is ca/root_ca.crt of the server")
	}
	transport := &http.Transport{
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13,
			RootCAs:    roots,
			// Always show it: crypto/tls sends none when the server's list of CAs does not name its issuer.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		},
	}
	return &admin.Client{
		HTTP: &http.Client{Transport: transport, Timeout: time.Minute},
		Base: "https://" + base.Host,
	}, nil
}

// explain turns an error of the API client into one for the operator, with the server's own hint.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if api, ok := errors.AsType[*admin.APIError](err); ok {
		message := api.Detail
		if message == "" {
			message = fmt.Sprintf("the server answered %d", api.Status)
		}
		return &failure{err: errors.New(message), hint: api.Hint}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		hint := "is it running, and is its address right? (--server, --socket)"
		if _, ok := errors.AsType[x509.HostnameError](err); ok {
			hint = "call it by one of the server_names in its configuration"
		} else if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
			hint = "--admin-ca must be ca/root_ca.crt of that server"
		}
		return hinted(fmt.Errorf("calling the server: %w", u.Err), "%s", hint)
	}
	return err
}
