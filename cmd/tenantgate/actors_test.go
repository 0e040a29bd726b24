package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/proxy/tenantsim"
)

// runTenant is the command tenantsim: a simulated tenant that writes ca.pem, key.json and certkey.json (service keys with a secret and a certificate),
// second.json (another secret of the same client), wrong.json and env (name=value lines) into -dir and runs until SIGINT. Once there is a file delete in
// -dir, key.json is no good any more.
func runTenant(args []string) error {
	flags := flag.NewFlagSet("tenantsim", flag.ContinueOnError)
	dir := flags.String("dir", ".", "where to write")
	delay := flags.Duration("token-delay", 0, "how long the token server thinks")
	csrf := flags.Bool("csrf", false, "protect all flows against CSRF, and fail /http/failing")
	release := flags.String("release", "", "let /http/slow write the file arrived into -dir and answer only once this file is there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	switches := tenantsim.Switches{}
	if *delay > 0 {
		switches.TokenFault = &tenantsim.TokenFault{Delay: *delay}
	}
	sim, err := tenantsim.New(tenantsim.Options{Switches: switches})
	if err != nil {
		return err
	}
	defer sim.Close()
	if *csrf {
		sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
		sim.SetFlow("/http/failing", tenantsim.Flow{Status: http.StatusInternalServerError})
	}
	if *release != "" {
		sim.SetFlow("/http/slow", tenantsim.Flow{Handler: func(w http.ResponseWriter, r *http.Request) {
			err := os.WriteFile(filepath.Join(*dir, "arrived"), nil, 0o600)
			if err == nil {
				err = awaitFile(*release)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			io.WriteString(w, "slow but sure\n")
		}})
	}
	sim.AddClient(tenantsim.Client{ID: "sb-erp", Secret: "s3cret+/=$"})
	key, err := sim.ServiceKey("sb-erp", tenantsim.KeyIntegration)
	if err != nil {
		return err
	}
	pair, err := sim.NewCertificate("sb-cert")
	if err != nil {
		return err
	}
	sim.AddClient(tenantsim.Client{ID: "sb-cert", Certificate: pair})
	certificateKey, err := sim.ServiceKey("sb-cert", tenantsim.KeyIntegrationCertificate)
	if err != nil {
		return err
	}
	sim.AddSecret("sb-erp", "another$")
	go func() { // the vendor's side of a rotation
		if awaitFile(filepath.Join(*dir, "delete")) == nil {
			sim.RemoveSecret("sb-erp", "s3cret+/=$")
		}
	}()
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"certkey.json", certificateKey},
		{"ca.pem", sim.CAPEM()},
		{"key.json", key},
		{"second.json", bytes.ReplaceAll(key, []byte("s3cret+/=$"), []byte("another$"))},
		{"wrong.json", bytes.ReplaceAll(key, []byte("s3cret+/=$"), []byte("mistyped"))},
		{"secret", []byte("s3cret+/=$\n")},
		{"env", fmt.Appendf(nil, "base_url=%s\ntoken_url=%s\n", sim.BaseURL(), sim.TokenURL())},
	} {
		if err := replaceFile(filepath.Join(*dir, f.name), f.data, 0o600); err != nil {
			return err
		}
	}
	<-signals
	return nil
}

// runCaller is the command caller: a backend that makes requests with a client certificate, all on one connection,
// and prints status and body of each. Between two requests it waits for the file that -between names.
func runCaller(args []string) error {
	flags := flag.NewFlagSet("caller", flag.ContinueOnError)
	files := flags.String("as", "", "directory and name of NAME.pem, NAME.key and ca.pem, such as certs/erp")
	method := flags.String("method", "GET", "method")
	body := flags.String("body", "", "request body")
	between := flags.String("between", "", "make a second request once this file is there")
	done := flags.String("done", "", "file to write after the first request")
	h2 := flags.Bool("h2", false, "speak HTTP/2")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("caller: URL is missing")
	}
	client, err := callerClient(*files, *h2)
	if err != nil {
		return err
	}
	if err := callOnce(client, *method, flags.Arg(0), *body); err != nil {
		return err
	}
	if *done != "" {
		if err := os.WriteFile(*done, nil, 0o600); err != nil {
			return err
		}
	}
	if *between == "" {
		return nil
	}
	if err := awaitFile(*between); err != nil {
		return err
	}
	return callOnce(client, *method, flags.Arg(0), *body)
}

// awaitFile waits until a file is there, by looking: its maker is another process.
func awaitFile(path string) error {
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s did not appear", path)
}

func callerClient(files string, h2 bool) (*http.Client, error) {
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if files != "" {
		pair, err := tls.LoadX509KeyPair(files+".pem", files+".key")
		if err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		roots, err := os.ReadFile(filepath.Join(filepath.Dir(files), "ca.pem"))
		if err != nil {
			return nil, err
		}
		config.RootCAs.AppendCertsFromPEM(roots)
	} else {
		config.InsecureSkipVerify = true // a caller without certificate wants nothing but the refusal
	}
	return &http.Client{Timeout: deadline, Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: h2}}, nil
}

func callOnce(client *http.Client, method, url, body string) error {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, url, reader)
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	fmt.Printf("%d\n%s\n", response.StatusCode, strings.TrimSpace(string(b)))
	return nil
}

// runNotifySink is the command notifysink: it appends what a service tells systemd, a line each, to a file.
func runNotifySink(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: notifysink SOCKET FILE")
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: args[0], Net: "unixgram"})
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	go func() {
		<-signals
		conn.Close()
	}()
	out, err := os.Create(args[1])
	if err != nil {
		return err
	}
	defer out.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", buffer[:n])
	}
}

// runDocumented is the command documented: it prints the shell commands of a page, those in blocks that say sh.
func runDocumented(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: documented FILE")
	}
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	inside := false
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = strings.TrimSpace(line) == "```sh"
		case inside:
			fmt.Print(line)
		}
	}
	return nil
}

// runSQL is the command sql: it changes an SQLite file behind a server's back.
func runSQL(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: sql FILE STATEMENT")
	}
	db, err := sql.Open("sqlite", args[0])
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(args[1])
	return err
}
